#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "bindings/progress.h"
#include "bindings/without_gil.h"
#include "store/sweeper.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

const char* fate_name(PackFate fate) {
  switch (fate) {
    case PackFate::kInUse:
      return "in use";
    case PackFate::kDamaged:
      return "damaged";
    case PackFate::kRewritten:
      return "rewritten";
    case PackFate::kRemoved:
      return "removed";
    case PackFate::kKept:
      break;
  }
  return "kept";
}

py::dict to_python(const SweepResult& result) {
  py::list packs;
  for (const PackUse& use : result.packs) {
    py::dict entry;
    entry["path"] = use.path;
    entry["bytes"] = use.file_bytes;
    entry["live_bytes"] = use.live_bytes;
    entry["chunks"] = use.chunks;
    entry["live_chunks"] = use.live_chunks;
    entry["fate"] = fate_name(use.fate);
    packs.append(entry);
  }
  py::dict out;
  out["packs"] = packs;
  out["freed_bytes"] = result.freed_bytes;
  out["lost_chunks"] = result.lost_chunks;
  out["recoded_chunks"] = result.recoded_chunks;
  return out;
}

}  // namespace

void bind_sweep(py::module_& module) {
  py::class_<Sweeper>(module, "Sweeper",
                      "Gives back the bytes of chunks that nothing names; one at a time a store.")
      .def(py::init([](std::shared_ptr<ChunkStore> store) {
             std::unique_ptr<Sweeper> sweeper;
             without_gil([&] { sweeper = std::make_unique<Sweeper>(std::move(store)); });
             return sweeper;
           }),
           py::arg("store"))
      .def(
          "mark",
          [](Sweeper& self, const py::bytes& ref) {
            self.mark(decode_ref(as_bytes(std::string_view(ref))));
          },
          py::arg("ref"), "Keep what this reference names.")
      .def(
          "pair",
          [](Sweeper& self, const py::bytes& ref, const py::bytes& neighbour) {
            self.pair(decode_ref(as_bytes(std::string_view(ref))),
                      decode_ref(as_bytes(std::string_view(neighbour))));
          },
          py::arg("ref"), py::arg("neighbour"),
          "What this reference names may be stored as a difference to the neighbour, where both "
          "are "
          "marked; older pairs first.")
      .def(
          "plan",
          [](Sweeper& self) {
            SweepResult result;
            without_gil([&] { result = self.plan({}); });
            return to_python(result);
          },
          "What a sweep would do: packs (path, bytes, live_bytes, chunks, live_chunks, fate), "
          "freed_bytes, lost_chunks, recoded_chunks.")
      .def(
          "sweep",
          [](Sweeper& self, const py::object& progress) {
            SweepResult result;
            const Progress tell = progress_to(progress);
            without_gil([&] { result = self.sweep({}, tell); });
            return to_python(result);
          },
          py::arg("progress") = py::none(), "Do it; progress(done, total) in bytes.")
      .def(
          "set_aside",
          [](Sweeper& self, const std::vector<std::string>& paths, const std::string& folder) {
            std::vector<std::string> in_use;
            without_gil([&] { in_use = self.set_aside(paths, folder); });
            return in_use;
          },
          py::arg("paths"), py::arg("folder"),
          "Move damaged packs into a folder, their whole chunks into a new pack; the paths of "
          "those that a living process uses come back.");
}

}  // namespace flor::bindings
