#include <pybind11/stl.h>

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "bindings/bindings.h"
#include "bindings/buffer_view.h"
#include "bindings/plain_method.h"
#include "bindings/without_gil.h"
#include "snapshot/snapshotter.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

// A snapshotter, and the buffers that it still reads from: their exports end on a thread that holds
// the GIL, at the next call after their snapshot is done.
class LiveSnapshotter {
 public:
  LiveSnapshotter(std::shared_ptr<ChunkStore> store, SnapshotterOptions options)
      : snapshotter_(std::move(store), options) {}

  std::shared_ptr<Pending> take(const py::sequence& buffers, const std::string& manifest_path,
                                const py::bytes& meta, const py::bytes& contracts) {
    const Bytes kinds = as_bytes(std::string_view(contracts));
    std::vector<BufferView> views;
    std::vector<Region> regions;
    views.reserve(py::len(buffers));
    regions.reserve(py::len(buffers));
    for (const py::handle buffer : buffers) {
      const std::size_t i = views.size();
      views.emplace_back(buffer);
      regions.push_back(
          region_of(views.back().bytes(), i < kinds.size() ? kinds[i] : std::byte{0}));
    }
    const Bytes meta_bytes = as_bytes(std::string_view(meta));
    std::shared_ptr<Pending> pending;
    without_gil([&] { pending = snapshotter_.take(regions, manifest_path, meta_bytes); });
    release_done();
    hold(pending, regions, views);
    return pending;
  }
  bool is_reading() const noexcept { return !held_.empty(); }
  void settle() {
    if (!is_reading()) return;
    without_gil([&] { snapshotter_.settle(); });
    release_done();
  }
  void drain() {
    without_gil([&] { snapshotter_.drain(); });
    release_done();
  }
  void close() {
    without_gil([&] { snapshotter_.close(); });
    release_done();
  }
  void warm_up(std::size_t bytes) {
    without_gil([&] { snapshotter_.warm_up(bytes); });
  }
  double held_seconds() {
    const LiveStats stats = snapshotter_.stats().live;
    const std::uint64_t held_ns = stats.settle_ns + stats.fault_ns;
    return static_cast<double>(held_ns - std::exchange(told_ns_, held_ns)) * 1e-9;
  }
  const Snapshotter& core() const noexcept { return snapshotter_; }
  // Before the buffers are let go.
  ~LiveSnapshotter() { snapshotter_.close(); }
  LiveSnapshotter(const LiveSnapshotter&) = delete;
  LiveSnapshotter& operator=(const LiveSnapshotter&) = delete;

 private:
  static Region region_of(Bytes bytes, std::byte kind) {
    constexpr std::byte kWatch{16};
    const std::byte contract = kind & ~kWatch;
    if (contract > std::byte{3})
      throw Error(ErrorKind::kInvalid, "a contract is 0, 1, 2 or 3, and 16 more to be watched");
    return {bytes, static_cast<Contract>(contract), 0, (kind & kWatch) == kWatch};
  }
  // Only what is still read is held: an exported NumPy array can't be resized.
  void hold(const std::shared_ptr<Pending>& pending, const std::vector<Region>& regions,
            std::vector<BufferView>& views) {
    std::vector<BufferView> live;
    for (std::size_t i = 0; i < views.size(); ++i)
      if (regions[i].contract != Contract::kEager) live.push_back(std::move(views[i]));
    if (!live.empty()) held_.emplace_back(pending, std::move(live));
  }
  // A forked child keeps its copies: there no snapshot is ever done.
  void release_done() {
    std::erase_if(held_, [](const auto& each) { return each.first->done(); });
  }

  Snapshotter snapshotter_;
  std::uint64_t told_ns_ = 0;
  std::vector<std::pair<std::shared_ptr<Pending>, std::vector<BufferView>>> held_;
};

// Those that an optimizer's step is to settle. The GIL guards it.
std::vector<std::weak_ptr<LiveSnapshotter>>& settled_by_steps =
    *new std::vector<std::weak_ptr<LiveSnapshotter>>;

void settle_before_steps(const std::shared_ptr<LiveSnapshotter>& snapshotter) {
  std::erase_if(settled_by_steps, [](const auto& each) { return each.expired(); });
  const auto is_it = [&](const auto& each) { return each.lock() == snapshotter; };
  if (std::none_of(settled_by_steps.begin(), settled_by_steps.end(), is_it))
    settled_by_steps.push_back(snapshotter);
}

// A hook for optimizers, and so written without pybind: most steps have nothing to settle.
PyObject* before_step(PyObject*, PyObject* const*, Py_ssize_t) {
  const auto settle_all = [] {
    std::vector<std::shared_ptr<LiveSnapshotter>> reading;  // settling lets go of the GIL
    for (const auto& each : settled_by_steps) {
      if (auto snapshotter = each.lock(); snapshotter && snapshotter->is_reading())
        reading.push_back(std::move(snapshotter));
    }
    for (const auto& each : reading) each->settle();
  };
  if (!guarded(settle_all)) return nullptr;
  Py_RETURN_NONE;
}

PyMethodDef functions[] = {{"before_step", as_method(before_step), METH_FASTCALL,
                            "before_step(*ignored)\n\nSettles every Snapshotter that was given to "
                            "settle_before_steps(). A "
                            "hook for optimizers."},
                           {nullptr, nullptr, 0, nullptr}};

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
  out["settle_ns"] = stats.live.settle_ns;
  out["fault_ns"] = stats.live.fault_ns;
  out["copied_bytes"] = stats.live.copied_bytes;
  out["refused"] = stats.live.refused;
  out["unchanged_bytes"] = stats.unchanged_bytes;
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
      .def_property_readonly("refused", &Pending::refused,
                             "Whether it failed because it may not be the state at its instant.")
      .def_property_readonly("stall_seconds", &Pending::stall_seconds)
      .def_property_readonly("background_cpu_seconds", &Pending::background_cpu_seconds)
      .def_property_readonly("raw_bytes", &Pending::raw_bytes)
      .def_property_readonly("stored_bytes", &Pending::stored_bytes)
      .def_property_readonly("path", &Pending::path);

  module.def("can_track", &WriteTracker::is_supported,
             "Whether the system tells this process afterwards of writes to its memory.");
  module.def("can_protect", &WriteGuard::is_supported,
             "Whether the system tells this process of writes to protected memory.");
  py::class_<LiveSnapshotter, std::shared_ptr<LiveSnapshotter>>(
      module, "Snapshotter", "Captures buffers at an instant and stores them in the background.")
      .def(py::init([](std::shared_ptr<ChunkStore> store, std::size_t staging_bytes,
                       std::size_t threads, std::size_t key_interval) {
             return std::make_shared<LiveSnapshotter>(
                 std::move(store), SnapshotterOptions{staging_bytes, threads, key_interval});
           }),
           py::arg("store"), py::kw_only(), py::arg("staging_bytes") = std::size_t{1} << 30,
           py::arg("threads") = 1, py::arg("key_interval") = std::size_t{8})
      .def(
          "take", &LiveSnapshotter::take, py::arg("buffers"), py::arg("manifest_path"),
          py::arg("meta"), py::arg("contracts") = py::bytes(),
          "Capture the buffers and return; they are stored in the background. A byte a buffer says "
          "how: 0 copied now, 1 read until settle(), 2 read until the first write, 3 as 1 and "
          "refused when someone writes without it; plus 16: what is found unchanged is left out "
          "from then on, until someone writes there.")
      .def("settle", &LiveSnapshotter::settle,
           "Buffers captured with contract 1 may be written after this.")
      .def("held_seconds", &LiveSnapshotter::held_seconds,
           "How long writers waited, in settle() or at a first write, since this was last asked.")
      .def("warm_up", &LiveSnapshotter::warm_up, py::arg("nbytes"),
           "Touch staging memory in the background, so that the first take finds it warm.")
      .def("stats", [](const LiveSnapshotter& self) { return to_python(self.core().stats()); })
      .def_property_readonly("error",
                             [](const LiveSnapshotter& self) { return self.core().error(); })
      .def("drain", &LiveSnapshotter::drain, "Wait until nothing is in flight.")
      .def("close", &LiveSnapshotter::close, "Finish what is in flight and end the threads.")
      .def("settle_before_steps", &settle_before_steps, "before_step() settles it from now on.");
  if (PyModule_AddFunctions(module.ptr(), functions) != 0) throw py::error_already_set();
}

}  // namespace flor::bindings
