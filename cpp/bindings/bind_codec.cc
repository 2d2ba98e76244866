#include <pybind11/stl.h>

#include "base/error.h"
#include "bindings/bindings.h"
#include "bindings/buffer_view.h"
#include "bindings/without_gil.h"
#include "codec/framed.h"
#include "codec/kernels.h"
#include "codec/quantize.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

Bytes bytes_or_none(const std::optional<BufferView>& view) {
  return view ? view->bytes() : Bytes();
}
std::optional<BufferView> view_of(const py::object& base) {
  if (base.is_none()) return std::nullopt;
  return BufferView(base);
}

std::size_t encode(const py::object& buffer, const py::object& out, const py::object& base) {
  const BufferView in(buffer), room(out, true);
  const auto before = view_of(base);
  std::size_t used = 0;
  without_gil(
      [&] { used = encode_framed(in.bytes(), bytes_or_none(before), room.mutable_bytes()); });
  return used;
}

void decode(const py::object& encoded, const py::object& out, const py::object& base) {
  const BufferView in(encoded), room(out, true);
  const auto before = view_of(base);
  without_gil([&] { decode_framed(in.bytes(), bytes_or_none(before), room.mutable_bytes()); });
}

// float32 values of a C-contiguous buffer.
std::span<const float> floats(Bytes bytes) {
  if (bytes.size() % sizeof(float) != 0 ||
      reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(float) != 0)
    throw Error(ErrorKind::kInvalid, "not an aligned array of float32");
  return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

py::tuple quantize_values(const py::object& values, unsigned bits, const py::object& base) {
  const BufferView in(values);
  const auto before = view_of(base);
  const auto x = floats(in.bytes()), b = floats(bytes_or_none(before));
  Buffer out;
  float error = 0;
  without_gil([&] { error = quantize(x, b, bits, out); });
  return py::make_tuple(py::bytes(reinterpret_cast<const char*>(out.data()), out.size()), error);
}

void dequantize_values(const py::object& encoded, const py::object& out, const py::object& base) {
  const BufferView in(encoded), room(out, true);
  const auto before = view_of(base);
  const auto b = floats(bytes_or_none(before)), shape = floats(room.bytes());
  const std::span<float> values{reinterpret_cast<float*>(room.mutable_bytes().data()),
                                shape.size()};
  without_gil([&] { dequantize(in.bytes(), b, values); });
}

}  // namespace

void bind_codec(py::module_& module) {
  module.def("codec_bound", &framed_bound, py::arg("nbytes"),
             "Room that codec_encode may need for so many bytes.");
  module.def("codec_encode", &encode, py::arg("buffer"), py::arg("out"),
             py::arg("base") = py::none(),
             "Encode a buffer as the store would, chunk by chunk, into `out`; return the bytes "
             "used. `base`: as many bytes that it may be a difference to.");
  module.def("codec_decode", &decode, py::arg("encoded"), py::arg("out"),
             py::arg("base") = py::none(), "Decode into `out`, which has the decoded length.");
  module.def("quantize", &quantize_values, py::arg("values"), py::arg("bits"),
             py::arg("base") = py::none(),
             "Codes of float32 values (of 2 to 8 bits, a step per 8192), as a difference to `base` "
             "when it is given: (bytes, largest absolute error).");
  module.def("dequantize", &dequantize_values, py::arg("encoded"), py::arg("out"),
             py::arg("base") = py::none(), "Decode into float32 `out`.");
  module.def(
      "codec_kernels",
      [] {
        std::vector<std::string> names;
        for (const Kernels* one : all_kernels()) names.emplace_back(one->name);
        return names;
      },
      "The instruction sets that this processor has, slowest first; the last is used.");
}

}  // namespace flor::bindings
