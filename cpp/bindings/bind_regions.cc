// What a walk over a program's state asks of each tensor and each region of memory: hundreds of
// times a checkpoint, while the program waits. Tensors are read through their Python attributes:
// torch is no dependency of the core.

#include <pybind11/gil_safe_call_once.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/bytes.h"
#include "bindings/bindings.h"
#include "bindings/buffer_view.h"

namespace flor::bindings {
namespace {

namespace py = pybind11;

// A name of an attribute, made once.
class Name {
 public:
  explicit Name(const char* text) : text_(PyUnicode_InternFromString(text)) {}
  py::object of(py::handle object) const { return taken(PyObject_GetAttr(object.ptr(), text_)); }
  py::object call(py::handle object) const {
    return taken(PyObject_CallMethodNoArgs(object.ptr(), text_));
  }
  bool is_true(py::handle object) const { return truth(of(object)); }
  bool call_is_true(py::handle object) const { return truth(call(object)); }

 private:
  static py::object taken(PyObject* found) {
    if (found == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(found);
  }
  static bool truth(const py::object& found) {
    const int answer = PyObject_IsTrue(found.ptr());
    if (answer < 0) throw py::error_already_set();
    return answer == 1;
  }
  PyObject* text_;  // never let go: it is the interpreter's
};

// Bytes [low, high) of its storage that a tensor covers.
struct Span {
  Py_ssize_t low = 0, high = 0;
};

Span span_of(const py::list& shape, const py::list& strides, Py_ssize_t offset, Py_ssize_t size) {
  Span span{offset, offset + 1};
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const auto extent = shape[i].cast<Py_ssize_t>();
    if (extent == 0) return {};
    const Py_ssize_t reach = (extent - 1) * strides[i].cast<Py_ssize_t>();
    (reach < 0 ? span.low : span.high) += reach;
  }
  return {span.low * size, span.high * size};
}

py::list list_of(const py::object& items) {
  return py::reinterpret_steal<py::list>(PySequence_List(items.ptr()));
}

// "float32" of torch.float32. There is one object for each type, and it lives for good.
py::object name_of(const py::object& dtype) {
  static auto& known = *new py::dict;
  if (PyObject* const name = PyDict_GetItemWithError(known.ptr(), dtype.ptr()))
    return py::reinterpret_borrow<py::object>(name);
  const std::string text = py::str(dtype);
  known[dtype] = py::str(text.substr(text.rfind('.') + 1));
  return known[dtype];
}

bool has_memory(const py::object& tensor) {
  static const Name layout("layout"), is_meta("is_meta"), is_quantized("is_quantized");
  // An import may let go of the GIL: a plain static could wait for a thread that waits for it.
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> found;
  const auto look = []() -> py::object { return py::module_::import("torch").attr("strided"); };
  const py::object& strided = found.call_once_and_store_result(look).get_stored();
  return layout.of(tensor).is(strided) && !is_meta.is_true(tensor) && !is_quantized.is_true(tensor);
}

// Whether torch allocated this memory, for this process.
bool is_own(const py::object& storage, bool cpu) {
  static const Name resizable("resizable"), is_shared("is_shared");
  return cpu && resizable.call_is_true(storage) && !is_shared.call_is_true(storage);
}

py::object describe_tensor(const py::object& tensor) {
  static const Name dtype("dtype"), is_cpu("is_cpu"), device("device"), shape("shape"),
      stride("stride"), storage_offset("storage_offset"), element_size("element_size"),
      untyped_storage("untyped_storage"), data_ptr("data_ptr"), nbytes("nbytes"),
      grad_fn("grad_fn"), requires_grad("requires_grad"), is_conj("is_conj"), is_neg("is_neg");
  if (!has_memory(tensor)) return py::none();
  const bool cpu = is_cpu.is_true(tensor);
  const py::list extents = list_of(shape.of(tensor)), strides = list_of(stride.call(tensor));
  const py::object offset = storage_offset.call(tensor), storage = untyped_storage.call(tensor);
  const auto size = element_size.call(tensor).cast<Py_ssize_t>();
  const Span span = span_of(extents, strides, offset.cast<Py_ssize_t>(), size);
  py::object differentiable = py::bool_(requires_grad.is_true(tensor));
  if (!grad_fn.of(tensor).is_none()) differentiable = py::str("graph");
  const int bits = (is_conj.call_is_true(tensor) ? 1 : 0) + (is_neg.call_is_true(tensor) ? 2 : 0);
  return py::make_tuple(name_of(dtype.of(tensor)),
                        cpu ? py::str("cpu") : py::str(device.of(tensor)), extents, strides, offset,
                        differentiable, bits, storage, data_ptr.call(storage), nbytes.call(storage),
                        is_own(storage, cpu), span.low, span.high);
}

py::array memory(const py::object& owner, std::uintptr_t address, py::ssize_t nbytes,
                 bool readonly) {
  py::array view(py::dtype::of<std::uint8_t>(), {nbytes}, {1},
                 reinterpret_cast<const void*>(address), owner);
  if (readonly)
    py::detail::array_proxy(view.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return view;
}

constexpr std::size_t kSamples = 64;

// Appends a region's length and its sample: all of up to 512 bytes, else words and the tail.
void add_sample(Bytes region, std::string& found) {
  const auto add = [&](const void* from, std::size_t count) {
    found.append(static_cast<const char*>(from), count);
  };
  const std::uint64_t nbytes = region.size();
  add(&nbytes, sizeof nbytes);
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  if (region.size() <= kSamples * kWord) return add(region.data(), region.size());
  const std::size_t words = region.size() / kWord,
                    step = std::max<std::size_t>(1, words / kSamples);
  for (std::size_t i = 0; i < words; i += step) add(region.data() + i * kWord, kWord);
  add(region.data() + region.size() - kWord, kWord);
}

py::bytes samples(const py::list& views, const py::list& seen) {
  std::string found;
  for (std::size_t i = 0; i < views.size(); ++i) {
    const BufferView view(views[i]);
    const auto [low, high] = seen[i].cast<std::pair<std::size_t, std::size_t>>();
    const std::size_t end = std::min(high, view.bytes().size()), begin = std::min(low, end);
    add_sample(view.bytes().subspan(begin, end - begin), found);
  }
  return found;
}

}  // namespace

void bind_regions(py::module_& module) {
  module.def("describe_tensor", &describe_tensor, py::arg("tensor"),
             "Returns (dtype, device, shape, strides and offset in elements, requires_grad or "
             "'graph',\n1 conjugate + 2 negative, storage, its address, its bytes, whether it is "
             "torch's own memory of\nthis process, first and end byte that the tensor covers), or "
             "None for one that is not dense.\nRaises what its attributes raise.");
  module.def("memory", &memory, py::arg("owner"), py::arg("address"), py::arg("nbytes"),
             py::arg("readonly"),
             "Returns the live memory at an address as a uint8 array of NumPy that keeps `owner` "
             "alive.");
  module.def("samples", &samples, py::arg("views"), py::arg("seen"),
             "Returns the length and up to 64 evenly spaced words and the tail of bytes "
             "[low, high) of each\nview, one after the other.");
}

}  // namespace flor::bindings
