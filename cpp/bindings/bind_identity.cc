// Whether an array is still the one that it was, without a weak reference: NumPy refuses to resize
// an array that has one.

#include <pybind11/pybind11.h>

#include <cstdint>
#include <unordered_map>

#include "bindings/bindings.h"

namespace flor::bindings {
namespace {

namespace py = pybind11;

// The GIL guards these.
using Serials = std::unordered_map<PyObject*, std::uint64_t>;
Serials& serials = *new Serials;  // of watched arrays that are alive; some die as the process ends
std::uint64_t last_serial = 0;
PyTypeObject* array_type = nullptr;
destructor dealloc_array = nullptr;

// Arrays of subclasses end here too: what frees them calls what frees their base.
void forget(PyObject* array) {
  if (!serials.empty()) serials.erase(array);
  dealloc_array(array);
}

std::uint64_t watch_array(const py::object& array, const py::object& ndarray) {
  if (array_type == nullptr) {
    array_type = reinterpret_cast<PyTypeObject*>(ndarray.ptr());
    dealloc_array = array_type->tp_dealloc;
    array_type->tp_dealloc = &forget;
  }
  if (!PyObject_TypeCheck(array.ptr(), array_type)) throw py::type_error("not an array of NumPy");
  const auto [place, added] = serials.try_emplace(array.ptr(), last_serial + 1);
  if (added) ++last_serial;
  return place->second;
}

py::object watched_array(std::uintptr_t address, std::uint64_t serial) {
  const auto found = serials.find(reinterpret_cast<PyObject*>(address));
  if (found == serials.end() || found->second != serial) return py::none();
  return py::reinterpret_borrow<py::object>(found->first);
}

}  // namespace

void bind_identity(py::module_& module) {
  module.def("watch_array", &watch_array, py::arg("array"), py::arg("ndarray"),
             "Returns the serial number of an array, which no other ever has; `ndarray` is "
             "numpy.ndarray. It is\nforgotten when the array dies. Raises TypeError.");
  module.def("watched_array", &watched_array, py::arg("address"), py::arg("serial"),
             "Returns the array at an address (its id) if it is alive and has that serial number, "
             "else None.");
}

}  // namespace flor::bindings
