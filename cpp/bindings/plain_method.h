// Functions that Python calls without pybind11: those that are called with every record or step.
#pragma once

#include <pybind11/pybind11.h>

#include "bindings/errors.h"

namespace flor::bindings {

// Calls `body`; false, with a Python error set, where it throws.
template <typename Body>
bool guarded(Body body) {
  try {
    body();
    return true;
  } catch (const Error& error) {
    set_error(error);
  } catch (pybind11::error_already_set& error) {
    error.restore();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return false;
}

// Returns a function with METH_FASTCALL as the type that method tables have.
template <typename Function>
PyCFunction as_method(Function function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace flor::bindings
