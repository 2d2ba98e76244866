#include <pybind11/stl.h>

#include "base/error.h"
#include "bindings/bindings.h"
#include "bindings/buffer_view.h"
#include "bindings/problems.h"
#include "bindings/without_gil.h"
#include "read/checkpoint_reader.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

// Bytes of a region as a read-only Python buffer; holds the mapping or the memory they lie in.
struct RegionBytes {
  HeldBytes held;
};

py::buffer_info buffer_of(const RegionBytes& region) {
  static std::byte nothing{};  // an empty buffer needs an address too
  const Bytes bytes = region.held.bytes;
  auto* data = const_cast<std::byte*>(bytes.empty() ? &nothing : bytes.data());
  return py::buffer_info(data, 1, "B", 1, {static_cast<py::ssize_t>(bytes.size())},
                         {py::ssize_t{1}}, true);
}

py::bytes to_bytes(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// nbytes < 0: to the end.
RegionBytes read(const CheckpointReader& reader, std::size_t region, std::uint64_t offset,
                 std::int64_t nbytes) {
  const std::uint64_t whole = reader.region(region).nbytes;
  const std::uint64_t count = nbytes >= 0      ? static_cast<std::uint64_t>(nbytes)
                              : offset < whole ? whole - offset
                                               : 0;
  RegionBytes bytes;
  without_gil([&] { bytes.held = reader.read(region, offset, count); });
  return bytes;
}

void read_into(const CheckpointReader& reader, std::size_t region, const py::object& buffer,
               std::uint64_t offset) {
  const BufferView view(buffer, true);
  without_gil([&] { reader.read_into(region, offset, view.mutable_bytes()); });
}

void read_regions(const CheckpointReader& reader, const std::vector<std::size_t>& regions,
                  const py::sequence& buffers) {
  if (regions.size() != buffers.size())
    throw Error(ErrorKind::kInvalid, "read_regions: as many buffers as regions");
  std::vector<BufferView> views;
  views.reserve(regions.size());
  std::vector<CheckpointReader::Wanted> wanted;
  for (std::size_t i = 0; i < regions.size(); ++i) {
    views.emplace_back(buffers[i], true);
    wanted.push_back({regions[i], 0, views.back().mutable_bytes()});
  }
  without_gil([&] { reader.read_into(wanted); });
}

std::vector<std::uint64_t> region_lengths(const CheckpointReader& reader) {
  std::vector<std::uint64_t> out;
  for (std::size_t i = 0; i < reader.region_count(); ++i) out.push_back(reader.region(i).nbytes);
  return out;
}

py::list verify(const CheckpointReader& reader) {
  std::vector<StoreProblem> problems;
  without_gil([&] { problems = reader.verify(); });
  return to_python(problems);
}

}  // namespace

void bind_read(py::module_& module) {
  py::class_<RegionBytes>(module, "RegionBytes", py::buffer_protocol(),
                          "Read-only bytes of a region; use memoryview().")
      .def_buffer(&buffer_of)
      .def("__len__", [](const RegionBytes& self) { return self.held.bytes.size(); });

  py::class_<CheckpointReader>(module, "CheckpointReader",
                               "One checkpoint: its meta bytes and its regions.")
      .def(py::init([](std::shared_ptr<ChunkStore> store, const std::string& manifest_path) {
             std::unique_ptr<CheckpointReader> reader;
             without_gil([&] {
               reader = std::make_unique<CheckpointReader>(std::move(store), manifest_path);
             });
             return reader;
           }),
           py::arg("store"), py::arg("manifest_path"))
      .def_property_readonly("meta",
                             [](const CheckpointReader& self) { return to_bytes(self.meta()); })
      .def_property_readonly("regions", &region_lengths)
      .def_property_readonly("raw_bytes",
                             [](const CheckpointReader& self) { return self.totals().raw_bytes; })
      .def_property_readonly(
          "stored_bytes", [](const CheckpointReader& self) { return self.totals().stored_bytes; })
      .def_property_readonly("time",
                             [](const CheckpointReader& self) {
                               return static_cast<double>(self.totals().time_unix_ns) * 1e-9;
                             })
      .def_property_readonly("path", &CheckpointReader::path)
      .def("read", &read, py::arg("region"), py::arg("offset") = 0, py::arg("nbytes") = -1,
           "Bytes of a region: a view of the store where it can be, else a decoded copy.")
      .def("read_into", &read_into, py::arg("region"), py::arg("buffer"), py::arg("offset") = 0,
           "Fill a writable buffer from a region.")
      .def("read_regions", &read_regions, py::arg("regions"), py::arg("buffers"),
           "Fill a writable buffer from each of these regions, all at once, on several cores.")
      .def(
          "region_ref",
          [](const CheckpointReader& self, std::size_t region) {
            return to_bytes(encode_ref(self.region(region)));
          },
          py::arg("region"), "The name of a region's content: equal names are equal content.")
      .def("is_zero_copy", &CheckpointReader::is_zero_copy, py::arg("region"))
      .def("verify", &verify, "Re-read every chunk; a list of dicts, empty when all is well.");
}

}  // namespace flor::bindings
