// Events of the interpreter about files that are about to change, for Python code. A hook in C: one
// in Python is called for every event, `id(x)` among them, at 20 times the price.

#include <pybind11/pybind11.h>

#include <cstring>

#include "bindings/bindings.h"

namespace flor::bindings {
namespace {

namespace py = pybind11;

constexpr const char* kEvents[] = {"open", "os.remove", "os.rename", "os.truncate",
                                   "shutil.rmtree"};

PyObject* listener = nullptr;  // strong, or null; the GIL guards it

bool is_wanted(const char* event) {
  for (const char* wanted : kEvents) {
    if (std::strcmp(event, wanted) == 0) return true;
  }
  return false;
}

int heard(const char* event, PyObject* arguments, void*) {
  if (listener == nullptr || !is_wanted(event)) return 0;
  PyObject* const callable = Py_NewRef(listener);  // it may be replaced while it runs
  PyObject* const result = PyObject_CallFunction(callable, "sO", event, arguments);
  Py_DECREF(callable);
  if (result == nullptr) {  // what listens must not stop what it hears
    PyErr_WriteUnraisable(nullptr);
  } else {
    Py_DECREF(result);
  }
  return 0;
}

void set_file_listener(const py::object& callable) {
  static const bool added = [] {
    if (PySys_AddAuditHook(&heard, nullptr) != 0) throw py::error_already_set();
    return true;
  }();
  (void)added;
  PyObject* const before = listener;
  listener = callable.is_none() ? nullptr : Py_NewRef(callable.ptr());
  Py_XDECREF(before);
}

}  // namespace

void bind_audit(py::module_& module) {
  module.def("set_file_listener", &set_file_listener, py::arg("callable").none(true),
             "callable(event, arguments) is called before files are opened, renamed, removed or "
             "truncated: audit\n"
             "events of Python, by whichever thread causes them. None: no more. Exceptions from it "
             "are written to\n"
             "stderr and otherwise ignored.");
}

}  // namespace flor::bindings
