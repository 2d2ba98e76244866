// Functions that Python calls without pybind11: those that are called with every record or step.
#pragma once

#include <Python.h>

namespace flor::bindings {

// Returns a function with METH_FASTCALL as the type that method tables have.
template <typename Function>
PyCFunction as_method(Function function) noexcept {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(function));
}

}  // namespace flor::bindings
