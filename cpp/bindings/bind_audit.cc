// Events of the interpreter about files that are about to change, for Python code. A hook in C: one
// in Python is called for every event, `id(x)` among them, at 20 times the price.

#include <fcntl.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bindings/bindings.h"

namespace flor::bindings {
namespace {

namespace py = pybind11;

constexpr const char* kEvents[] = {"open", "os.remove", "os.rename", "os.truncate",
                                   "shutil.rmtree"};

constexpr long kWrites = O_WRONLY | O_RDWR | O_TRUNC;

// The GIL guards these.
PyObject* listener = nullptr;  // strong, or null
std::vector<std::string> system_prefixes;
std::string inside_prefix;

bool is_wanted(const char* event) {
  for (const char* wanted : kEvents) {
    if (std::strcmp(event, wanted) == 0) return true;
  }
  return false;
}

// Whether a file of the system or of Python is opened to be read: thousands, as packages are
// imported.
bool is_idle(const char* event, PyObject* arguments) {
  if (std::strcmp(event, "open") != 0 || PyTuple_GET_SIZE(arguments) != 3) return false;
  PyObject* const path = PyTuple_GET_ITEM(arguments, 0);
  PyObject* const flags = PyTuple_GET_ITEM(arguments, 2);
  if (!PyUnicode_CheckExact(path) || !PyLong_CheckExact(flags)) return false;
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(path, &size);
  const long how = PyLong_AsLong(flags);
  if (text == nullptr || PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    return false;
  }
  const std::string_view name(text, static_cast<std::size_t>(size));
  return (how & kWrites) == 0 && !name.starts_with(inside_prefix) &&
         std::any_of(system_prefixes.begin(), system_prefixes.end(),
                     [&](const std::string& prefix) { return name.starts_with(prefix); });
}

int heard(const char* event, PyObject* arguments, void*) {
  if (listener == nullptr || !is_wanted(event) || is_idle(event, arguments)) return 0;
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

void set_file_listener(const py::object& callable, std::vector<std::string> system,
                       std::string inside) {
  static const bool added = [] {
    if (PySys_AddAuditHook(&heard, nullptr) != 0) throw py::error_already_set();
    return true;
  }();
  (void)added;
  system_prefixes = std::move(system);
  inside_prefix = std::move(inside);
  PyObject* const before = listener;
  listener = callable.is_none() ? nullptr : Py_NewRef(callable.ptr());
  Py_XDECREF(before);
}

}  // namespace

void bind_audit(py::module_& module) {
  module.def(
      "set_file_listener", &set_file_listener, py::arg("callable").none(true),
      py::arg("system") = std::vector<std::string>(), py::arg("inside") = std::string(),
      "callable(event, arguments) is called before files are opened, renamed, removed or "
      "truncated: audit\n"
      "events of Python, by whichever thread causes them. None: no more. Exceptions from it "
      "are written to\n"
      "stderr and otherwise ignored. Files that are only read and whose paths begin with one "
      "of `system`,\nand not with `inside`, are not told.");
}

}  // namespace flor::bindings
