#define PY_SSIZE_T_CLEAN
#include "bindings/log_contexts.h"

#include "base/error.h"
#include "bindings/errors.h"
#include "bindings/log_thread.h"
#include "bindings/plain_method.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

bool text_of(PyObject* object, const char* what, std::string_view& out) {
  if (!PyUnicode_Check(object)) {
    PyErr_Format(PyExc_TypeError, "%s must be a str, not %.200s", what, Py_TYPE(object)->tp_name);
    return false;
  }
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(object, &size);
  if (text == nullptr) return false;
  out = {text, static_cast<std::size_t>(size)};
  return true;
}

bool counted(const char* function, Py_ssize_t count, Py_ssize_t least, Py_ssize_t most) {
  if (count >= least && count <= most) return true;
  PyErr_Format(PyExc_TypeError, "%s() got %zd arguments", function, count);
  return false;
}

// Counts of top-level loops are of one activation.
LogThread& thread_of_activation() {
  LogThread& thread = this_log_thread();
  if (thread.counts_generation != active_log().activations) [[unlikely]] {
    thread.contexts.forget_top_level_counts();
    thread.counts_generation = active_log().activations;
  }
  return thread;
}

PyObject* unknown_token() {
  set_error(Error(ErrorKind::kInvalid,
                  "no loop of this thread has that token: it was left, or entered elsewhere"));
  return nullptr;
}

constexpr const char kEnterDoc[] =
    "context_enter(loop) -> token\n\nEnters a loop; it adds nothing to the path before its first "
    "step.";
PyObject* context_enter(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  std::string_view loop;
  if (!counted("context_enter", count, 1, 1) || !text_of(arguments[0], "a loop name", loop))
    return nullptr;
  // Room for the "#n" that a repeated loop gets.
  if (loop.empty() || loop.size() > kMaxNameBytes - 16) {
    set_error(Error(ErrorKind::kInvalid, "a loop name must have 1 to 4080 bytes"));
    return nullptr;
  }
  LogThread& thread = thread_of_activation();
  sync_loops(thread);
  return PyLong_FromUnsignedLongLong(thread.contexts.enter(loop));
}

bool step_arguments(PyObject* const* arguments, Py_ssize_t count, PyObject* keywords,
                    std::uint64_t& token, std::int64_t& index, std::string_view& value) {
  const Py_ssize_t named = keywords == nullptr ? 0 : PyTuple_GET_SIZE(keywords);
  if (!counted("context_step", count + named, 2, 3)) return false;
  if (named > 1 ||
      (named == 1 && (count != 2 || PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0),
                                                                     "value") != 0))) {
    PyErr_SetString(PyExc_TypeError, "context_step() takes one keyword, value");
    return false;
  }
  token = PyLong_AsUnsignedLongLong(arguments[0]);
  if (PyErr_Occurred() != nullptr) return false;
  index = PyLong_AsLongLong(arguments[1]);
  if (index == -1 && PyErr_Occurred() != nullptr) return false;
  return count + named < 3 || arguments[2] == Py_None || text_of(arguments[2], "value", value);
}

constexpr const char kStepDoc[] =
    "context_step(token, index, value=None)\n\n"
    "Begins an iteration of an entered loop; value is JSON text of at most 64 KiB.";
PyObject* context_step(PyObject*, PyObject* const* arguments, Py_ssize_t count,
                       PyObject* keywords) {
  std::uint64_t token = 0;
  std::int64_t index = 0;
  std::string_view value;
  if (!step_arguments(arguments, count, keywords, token, index, value)) return nullptr;
  if (value.size() > kInlineBytes) {
    set_error(Error(ErrorKind::kInvalid, "the value of an iteration may have 65536 bytes of JSON"));
    return nullptr;
  }
  if (!this_log_thread().contexts.step(token, index, value)) return unknown_token();
  Py_RETURN_NONE;
}

constexpr const char kLeaveDoc[] =
    "context_leave(token)\n\nLeaves that loop alone, also when it is not the last.";
PyObject* context_leave(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (!counted("context_leave", count, 1, 1)) return nullptr;
  const std::uint64_t token = PyLong_AsUnsignedLongLong(arguments[0]);
  if (PyErr_Occurred() != nullptr) return nullptr;
  // A generator may be closed after context_reset, or by another thread's collector: nothing to
  // leave then.
  this_log_thread().contexts.leave(token);
  Py_RETURN_NONE;
}

constexpr const char kPathDoc[] = "context_path() -> [(loop, index), ...]\n\nOutermost first.";
PyObject* context_path(PyObject*, PyObject*) {
  PyObject* path = PyList_New(0);
  if (path == nullptr) return nullptr;
  sync_loops(this_log_thread());
  for (const ContextStack::Entry& entry : this_log_thread().contexts.entries()) {
    if (!entry.stepped || entry.hidden) continue;
    PyObject* pair =
        Py_BuildValue("(s#L)", entry.loop.data(), static_cast<Py_ssize_t>(entry.loop.size()),
                      static_cast<long long>(entry.index));
    const bool ok = pair != nullptr && PyList_Append(path, pair) == 0;
    Py_XDECREF(pair);
    if (!ok) {
      Py_DECREF(path);
      return nullptr;
    }
  }
  return path;
}

constexpr const char kResetDoc[] =
    "context_reset()\n\nLeaves all loops of this thread and forgets their counts.";
PyObject* context_reset(PyObject*, PyObject*) {
  LogThread& thread = this_log_thread();
  thread.contexts.reset();
  leave_all(thread.loops);
  Py_RETURN_NONE;
}

}  // namespace

std::uint8_t checked_kind(PyObject* kind) {
  const long number = PyLong_AsLong(kind);
  if (number == -1 && PyErr_Occurred() != nullptr) throw py::error_already_set();
  if (number >= 0 && number <= 0xff && is_record_kind(static_cast<std::uint8_t>(number)))
    return static_cast<std::uint8_t>(number);
  throw Error(ErrorKind::kInvalid, "a kind must be 0 to 7, or 4 to 7 with 0x80 for a reference", {},
              Error::kNoOffset, {}, std::to_string(number));
}

Payload::Payload(PyObject* object, std::uint8_t kind) {
  if (PyUnicode_Check(object)) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(object, &size);
    if (text == nullptr) throw py::error_already_set();
    bytes_ = as_bytes({text, static_cast<std::size_t>(size)});
  } else {
    bytes_ = view_.emplace(object).bytes();
  }
  const int width = fixed_payload_bytes(kind);
  if (width >= 0 && bytes_.size() != static_cast<std::size_t>(width))
    throw Error(ErrorKind::kInvalid, "the payload has not the width of its kind", {},
                Error::kNoOffset, std::to_string(width) + " bytes",
                std::to_string(bytes_.size()) + " bytes");
}

void add_context_calls(py::module_& module) {
  static PyMethodDef methods[] = {
      {"context_enter", as_method(context_enter), METH_FASTCALL, kEnterDoc},
      {"context_step", as_method(context_step), METH_FASTCALL | METH_KEYWORDS, kStepDoc},
      {"context_leave", as_method(context_leave), METH_FASTCALL, kLeaveDoc},
      {"context_path", as_method(context_path), METH_NOARGS, kPathDoc},
      {"context_reset", as_method(context_reset), METH_NOARGS, kResetDoc},
      {nullptr, nullptr, 0, nullptr},
  };
  if (PyModule_AddFunctions(module.ptr(), methods) != 0) throw py::error_already_set();
}

}  // namespace flor::bindings
