// The one place that maps the core's errors to Python classes (python/flor/errors.py).
#pragma once

#include <pybind11/pybind11.h>

#include "base/error.h"

namespace flor::bindings {

// Makes pybind11 turn flor::Error into the class of its kind, with .path, .offset, .expected and
// .found.
void register_errors(pybind11::module_& module);

// Sets the Python error indicator, for functions outside pybind11. Requires the GIL.
void set_error(const Error& error);

}  // namespace flor::bindings
