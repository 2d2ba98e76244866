#include <pybind11/stl.h>

#include <algorithm>

#include "base/clock.h"
#include "bindings/bindings.h"
#include "bindings/buffer_view.h"
#include "bindings/without_gil.h"
#include "snapshot/snapshotter.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

std::shared_ptr<Pending> take(Snapshotter& snapshotter, const py::sequence& buffers,
                              const std::string& manifest_path, const py::bytes& meta) {
  std::vector<BufferView> views;
  std::vector<Region> regions;
  views.reserve(py::len(buffers));
  regions.reserve(py::len(buffers));
  for (const py::handle buffer : buffers) {
    views.emplace_back(buffer);
    regions.push_back({views.back().bytes(), nullptr});  // the views outlive the copy
  }
  const Bytes meta_bytes = as_bytes(std::string_view(meta));
  std::shared_ptr<Pending> pending;
  without_gil([&] { pending = snapshotter.take(regions, manifest_path, meta_bytes); });
  return pending;
}

// Waits in slices, so that Ctrl-C is heard.
bool wait(const Pending& pending, std::optional<double> timeout) {
  constexpr double kSliceSeconds = 0.1;
  const std::int64_t begin = monotonic_ns();
  for (;;) {
    const double left =
        timeout ? *timeout - static_cast<double>(monotonic_ns() - begin) * 1e-9 : kSliceSeconds;
    bool done = false;
    without_gil([&] { done = pending.wait(std::clamp(left, 0.0, kSliceSeconds)); });
    if (done) return true;
    if (left <= 0) return false;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

py::dict to_python(const SnapshotterStats& stats) {
  py::dict out;
  out["taken"] = stats.taken;
  out["waits"] = stats.waits;
  out["wait_ns"] = stats.wait_ns;
  out["staged_bytes"] = stats.staged_bytes;
  out["arena_bytes"] = stats.arena_bytes;
  out["in_flight"] = stats.in_flight;
  return out;
}

}  // namespace

void bind_snapshot(py::module_& module) {
  py::class_<Pending, std::shared_ptr<Pending>>(module, "Pending",
                                                "A checkpoint on its way to the disk.")
      .def_property_readonly("done", &Pending::done)
      .def("wait", &wait, py::arg("timeout") = std::nullopt,
           "True when durable, False after the timeout (seconds); raises what failed.")
      .def_property_readonly("error", &Pending::error)
      .def_property_readonly("stall_seconds", &Pending::stall_seconds)
      .def_property_readonly("background_cpu_seconds", &Pending::background_cpu_seconds)
      .def_property_readonly("raw_bytes", &Pending::raw_bytes)
      .def_property_readonly("stored_bytes", &Pending::stored_bytes)
      .def_property_readonly("path", &Pending::path);

  py::class_<Snapshotter>(module, "Snapshotter",
                          "Copies buffers at once and stores them in the background.")
      .def(py::init([](std::shared_ptr<ChunkStore> store, std::size_t staging_bytes,
                       std::size_t threads, std::size_t key_interval) {
             return std::make_unique<Snapshotter>(
                 std::move(store), SnapshotterOptions{staging_bytes, threads, key_interval});
           }),
           py::arg("store"), py::kw_only(), py::arg("staging_bytes") = std::size_t{1} << 30,
           py::arg("threads") = 1, py::arg("key_interval") = std::size_t{8})
      .def("take", &take, py::arg("buffers"), py::arg("manifest_path"), py::arg("meta"),
           "Copy the buffers and return; they are stored in the background.")
      .def(
          "warm_up",
          [](Snapshotter& self, std::size_t nbytes) { without_gil([&] { self.warm_up(nbytes); }); },
          py::arg("nbytes"),
          "Touch staging memory in the background, so that the first take finds it warm.")
      .def("stats", [](const Snapshotter& self) { return to_python(self.stats()); })
      .def_property_readonly("error", &Snapshotter::error)
      .def(
          "drain", [](Snapshotter& self) { without_gil([&] { self.drain(); }); },
          "Wait until nothing is in flight.")
      .def(
          "close", [](Snapshotter& self) { without_gil([&] { self.close(); }); },
          "Finish what is in flight and end the threads.");
}

}  // namespace flor::bindings
