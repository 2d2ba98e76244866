#include "bindings/errors.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

const char* class_name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalid:
      return "InvalidError";
    case ErrorKind::kNotFound:
      return "NotFoundError";
    case ErrorKind::kNotAStore:
      return "NotAStoreError";
    case ErrorKind::kNewerFormat:
      return "NewerFormatError";
    case ErrorKind::kCorrupt:
      return "CorruptError";
    case ErrorKind::kLost:
      return "LostChunkError";
    case ErrorKind::kFullDisk:
      return "FullDiskError";
    case ErrorKind::kReadOnly:
      return "ReadOnlyError";
    case ErrorKind::kClosed:
      return "ClosedError";
    case ErrorKind::kRefused:
      return "CaptureError";
    case ErrorKind::kIo:
      break;
  }
  return "StorageError";
}

}  // namespace

void set_error(const Error& error) {
  try {
    const py::object type = py::module_::import("flor.errors").attr(class_name(error.kind()));
    py::object value = type(error.what());
    value.attr("path") = error.path();
    value.attr("offset") =
        error.offset() == Error::kNoOffset ? py::object(py::none()) : py::int_(error.offset());
    value.attr("expected") = error.expected();
    value.attr("found") = error.found();
    PyErr_SetObject(type.ptr(), value.ptr());
  } catch (py::error_already_set& failure) {
    failure.restore();
  }
}

void register_errors(py::module_&) {
  py::register_local_exception_translator([](std::exception_ptr pending) {
    try {
      if (pending) std::rethrow_exception(pending);
    } catch (const Error& error) {
      set_error(error);
    }
  });
}

}  // namespace flor::bindings
