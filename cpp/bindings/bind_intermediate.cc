// Encodings of intermediates: blocks of tensors, columns of tables, pooled maps.
#include <pybind11/stl.h>

#include "base/error.h"
#include "bindings/bindings.h"
#include "bindings/buffer_view.h"
#include "bindings/without_gil.h"
#include "codec/block.h"
#include "codec/column.h"
#include "codec/pool.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

// float32 values of a C-contiguous buffer.
std::span<float> floats(const BufferView& view) {
  const MutableBytes bytes = view.mutable_bytes();
  if (bytes.size() % sizeof(float) != 0 ||
      reinterpret_cast<std::uintptr_t>(bytes.data()) % alignof(float) != 0)
    throw Error(ErrorKind::kInvalid, "not an aligned array of float32");
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

py::bytes encode_parts(const py::object& block, std::size_t rows,
                       const std::vector<std::uint32_t>& widths, bool by_column, std::uint8_t code,
                       const py::object& out) {
  if (code != static_cast<std::uint8_t>(ValueCode::kExact) &&
      code != static_cast<std::uint8_t>(ValueCode::kAffine))
    throw Error(ErrorKind::kInvalid, "a block is kept exactly (0) or affine (3)");
  const BufferView in(block), room(out, true);
  const auto values = floats(in);
  std::vector<BlockPart> parts;
  without_gil([&] {
    encode_block(values, rows, widths, by_column, static_cast<ValueCode>(code),
                 room.mutable_bytes(), parts);
  });
  ByteWriter told;
  for (const BlockPart& part : parts) {
    told.put(part.start);
    told.put(part.length);
    told.put(part.code);
    told.put(part.low);
    told.put(part.high);
    told.put(part.error);
    told.put(part.zeros);
    told.put(part.odd);
  }
  return {reinterpret_cast<const char*>(told.view().data()), told.size()};
}

float encode_affine(const py::object& values, std::size_t channels, const py::object& out) {
  const BufferView in(values), room(out, true);
  const auto from = floats(in);
  float error = 0;
  if (channels == 0) throw Error(ErrorKind::kInvalid, "affine needs a channel or more");
  without_gil(
      [&] { error = affine_encode(from, value_stats(from, channels), room.mutable_bytes()); });
  return error;
}

void decode_affine(const py::object& encoded, std::size_t channels, const py::object& out,
                   std::size_t rows, std::size_t width, std::size_t first, std::size_t stride) {
  const BufferView in(encoded), room(out, true);
  const auto values = floats(room);
  if (rows != 0 && (width > stride || first > values.size() ||
                    (rows - 1) * stride + width > values.size() - first))
    throw Error(ErrorKind::kInvalid, "the rows do not lie inside of the buffer");
  without_gil(
      [&] { affine_decode(in.bytes(), channels, rows, width, values.data() + first, stride); });
}

py::bytes column_encode(const py::object& values, unsigned width, bool floating,
                        const py::object& base, int level) {
  const BufferView in(values);
  std::optional<BufferView> before;
  if (!base.is_none()) before.emplace(base);
  Buffer out;
  without_gil([&] {
    encode_column(in.bytes(), {width, floating}, before ? before->bytes() : Bytes(), level, out);
  });
  return {reinterpret_cast<const char*>(out.data()), out.size()};
}

void column_decode(const py::object& encoded, const py::object& out, const py::object& base) {
  const BufferView in(encoded), room(out, true);
  std::optional<BufferView> before;
  if (!base.is_none()) before.emplace(base);
  without_gil(
      [&] { decode_column(in.bytes(), before ? before->bytes() : Bytes(), room.mutable_bytes()); });
}

float pool(const py::object& maps, std::size_t high, std::size_t wide, std::size_t side,
           bool largest, const py::object& out) {
  const BufferView in(maps), room(out, true);
  const auto from = floats(in), to = floats(room);
  float error = 0;
  without_gil([&] { error = pool_maps(from, {high, wide}, side, largest, to); });
  return error;
}

}  // namespace

void bind_intermediate(py::module_& module) {
  module.def(
      "block_bound",
      [](std::size_t rows, const std::vector<std::uint32_t>& widths) {
        return block_bound(rows, widths);
      },
      py::arg("rows"), py::arg("widths"), "Room that encode_block may need.");
  module.def(
      "encode_block", &encode_parts, py::arg("block"), py::arg("rows"), py::arg("widths"),
      py::arg("by_column"), py::arg("code"), py::arg("out"),
      "Encode the parts of rows of float32 values, a part `widths` of them, into `out`. Code "
      "0: as they are, 3: 8 bits between the least and the largest of a part, or "
      "`by_column`. Packed, a part: u64 start, u64 length, u32 code, f32 low, f32 high, f32 "
      "error, u64 zeros, u64 that are no numbers.");
  module.def("affine_bytes", &affine_bytes, py::arg("values"), py::arg("channels"),
             "Room that affine_encode takes.");
  module.def(
      "affine_encode", &encode_affine, py::arg("values"), py::arg("channels"), py::arg("out"),
      "Encode float32 values, value i of channel i mod channels, in 8 bits between the least "
      "and the largest of a channel; return the largest error, NaN when some value or range "
      "can't be kept so.");
  module.def("affine_decode", &decode_affine, py::arg("encoded"), py::arg("channels"),
             py::arg("out"), py::arg("rows"), py::arg("width"), py::arg("first"), py::arg("stride"),
             "Fill rows of float32 `out` from element `first` on, `stride` apart.");
  module.def("column_encode", &column_encode, py::arg("values"), py::arg("width"),
             py::arg("floating"), py::arg("base") = py::none(), py::arg("level") = 12,
             "Encode a column of elements of `width` bytes in as few bytes as several chains can; "
             "`base`: as many bytes that it may be a difference to.");
  module.def("column_decode", &column_decode, py::arg("encoded"), py::arg("out"),
             py::arg("base") = py::none(), "Decode into `out`, which has the decoded length.");
  module.def(
      "column_needs_base",
      [](const py::object& encoded) {
        const BufferView in(encoded);
        return column_needs_base(in.bytes());
      },
      py::arg("encoded"), "Whether an encoded column is a difference to its base.");
  module.def(
      "pool_maps", &pool, py::arg("maps"), py::arg("high"), py::arg("wide"), py::arg("side"),
      py::arg("largest"), py::arg("out"),
      "Fill `out` with the means, or maxima, of side × side cells of float32 maps; return the "
      "largest difference of a value to that of its cell.");
}

}  // namespace flor::bindings
