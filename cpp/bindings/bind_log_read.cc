#include "bindings/bindings.h"
#include "bindings/without_gil.h"
#include "read/log_arrow.h"
#include "read/log_reader.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

struct LogRecords {
  std::shared_ptr<const LogTable> table;
};

// A capsule owns its struct until a consumer moves the content out (and sets release to null).
template <typename Struct>
void destroy_capsule(PyObject* capsule, const char* name) noexcept {
  auto* content = static_cast<Struct*>(PyCapsule_GetPointer(capsule, name));
  if (content == nullptr) return PyErr_Clear();
  if (content->release != nullptr) content->release(content);
  delete content;
}

template <typename Struct>
py::object capsule(std::unique_ptr<Struct> content, const char* name,
                   PyCapsule_Destructor destructor) {
  PyObject* out = PyCapsule_New(content.get(), name, destructor);
  if (out == nullptr) {
    content->release(content.get());
    throw py::error_already_set();
  }
  (void)content.release();
  return py::reinterpret_steal<py::object>(out);
}

py::object schema_capsule(const LogRecords&) {
  auto schema = std::make_unique<ArrowSchema>();
  export_log_schema(schema.get());
  return capsule(std::move(schema), "arrow_schema",
                 [](PyObject* c) { destroy_capsule<ArrowSchema>(c, "arrow_schema"); });
}

py::tuple array_capsules(const LogRecords& records, const py::object&) {
  py::object schema = schema_capsule(records);
  auto array = std::make_unique<ArrowArray>();
  export_log_array(records.table, array.get());
  return py::make_tuple(schema, capsule(std::move(array), "arrow_array", [](PyObject* c) {
                          destroy_capsule<ArrowArray>(c, "arrow_array");
                        }));
}

LogRecords read(const std::string& directory, bool tolerant) {
  LogRecords out;
  without_gil([&] { out.table = read_log(real_files(), directory, {tolerant}); });
  return out;
}

}  // namespace

void bind_log_read(py::module_& module) {
  py::class_<LogRecords>(module, "LogRecords",
                         "Log records as an Arrow record batch: pyarrow.record_batch(records).")
      .def("__arrow_c_schema__", &schema_capsule)
      .def("__arrow_c_array__", &array_capsules, py::arg("requested_schema") = py::none())
      .def("__len__", [](const LogRecords& records) { return records.table->rows; })
      .def_property_readonly(
          "dropped_blocks", [](const LogRecords& records) { return records.table->dropped_blocks; },
          "Damaged blocks, rings and files that tolerant reading left out.")
      .def_property_readonly(
          "dropped_records",
          [](const LogRecords& records) { return records.table->dropped_records; },
          "Records of good blocks whose name or loop was defined in a damaged one.")
      .def_property_readonly(
          "torn_tails", [](const LogRecords& records) { return records.table->torn_tails; },
          "Segments whose last block was cut off while it was written; its records are in the "
          "ring.");
  module.def("read_log", &read, py::arg("directory"), py::arg("tolerant") = false,
             "Reads every writer's segments and left-over rings in a folder, also while they are "
             "written.");
}

}  // namespace flor::bindings
