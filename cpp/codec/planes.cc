#include "codec/planes.h"

#include <array>
#include <bit>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "codec/plane_list.h"

namespace flor {
namespace {

constexpr std::size_t kMaxWidth = 8;
constexpr std::uint8_t kSparseBit = 0x80;

const std::uint8_t* u8(Bytes bytes) { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }
std::uint8_t* u8(MutableBytes bytes) { return reinterpret_cast<std::uint8_t*>(bytes.data()); }

[[noreturn]] void throw_corrupt(const char* what) {
  throw Error(ErrorKind::kCorrupt, std::string("bytes are not a valid planes encoding: ") + what);
}

void check_base(PlaneLayout layout, std::size_t size, Bytes base, ErrorKind kind) {
  if (base.size() == (needs_base(layout.transform) ? size : 0)) return;
  throw Error(kind, needs_base(layout.transform)
                        ? "a difference needs a base of the same length"
                        : "a base was given for an encoding that has none");
}

bool is_valid(PlaneLayout layout) {
  return std::has_single_bit(layout.width) && layout.width <= kMaxWidth &&
         static_cast<std::uint8_t>(layout.transform) < kTransforms;
}

// A thread's working memory, kept: for planes, for elements that are not zero (and one too many),
// and for the nibbles that say where they were.
struct Scratch {
  std::vector<std::uint8_t> planes, elements, nibbles;
  void reserve(std::size_t bytes, std::size_t count) {
    if (planes.size() < bytes) planes.resize(bytes);
    if (elements.size() < bytes + kMaxWidth) elements.resize(bytes + kMaxWidth);
    if (nibbles.size() < nibble_count(count)) nibbles.resize(nibble_count(count));
  }
  static std::size_t nibble_count(std::size_t count) { return (count + 3) / 4; }
};
thread_local Scratch scratch;

// The planes as they are stored: where elements are missing, then from the top byte down, the most
// regular first.
struct PlaneSpans {
  std::array<std::span<std::uint8_t>, kMaxPlanes> of;
  std::size_t size = 0;

  PlaneSpans(PlaneLayout layout, std::size_t count, std::size_t kept) {
    if (layout.sparse) of[size++] = {scratch.nibbles.data(), Scratch::nibble_count(count)};
    for (std::size_t k = layout.width; k-- > 0;)
      of[size++] = {scratch.planes.data() + k * kept, kept};
  }
};

// Whether the nibbles speak of exactly `kept` of `count` elements.
bool fits(const std::uint8_t* nibbles, std::size_t count, std::size_t kept) {
  std::size_t there = 0;
  for (std::size_t i = 0; i < Scratch::nibble_count(count); ++i) {
    const std::size_t left = count - 4 * i;
    if (nibbles[i] >> (left < 4 ? left : 4) != 0) return false;
    there += static_cast<std::size_t>(std::popcount(nibbles[i]));
  }
  return there == kept;
}

}  // namespace

void encode_planes(PlaneLayout layout, Bytes in, Bytes base, Buffer& out, const Kernels& kernels) {
  if (!is_valid(layout)) throw Error(ErrorKind::kInvalid, "a plane layout that does not exist");
  check_base(layout, in.size(), base, ErrorKind::kInvalid);
  const std::size_t count = in.size() / layout.width, whole = count * layout.width;
  scratch.reserve(whole, count);
  ByteWriter writer(std::move(out));
  writer.put(layout.width);
  writer.put(static_cast<std::uint8_t>(static_cast<std::uint8_t>(layout.transform) |
                                       (layout.sparse ? kSparseBit : 0)));
  std::size_t kept = count;
  if (layout.sparse) {
    kept = kernels.compact(layout.transform, layout.width, u8(in), u8(base), count,
                           scratch.elements.data(), scratch.nibbles.data());
    kernels.split(Transform::kNone, layout.width, scratch.elements.data(), nullptr, kept,
                  scratch.planes.data());
    writer.put(static_cast<std::uint32_t>(kept));
  } else {
    kernels.split(layout.transform, layout.width, u8(in), u8(base), count, scratch.planes.data());
  }
  const PlaneSpans spans(layout, count, kept);
  std::array<std::span<const std::uint8_t>, kMaxPlanes> planes;
  for (std::size_t p = 0; p < spans.size; ++p) planes[p] = spans.of[p];
  write_planes(kernels, {planes.data(), spans.size}, writer);
  writer.put_bytes(in.subspan(whole));
  out = std::move(writer).take();
}

void decode_planes(Bytes in, Bytes base, MutableBytes out, const Kernels& kernels) {
  ByteReader reader(in);
  PlaneLayout layout;
  layout.width = reader.get<std::uint8_t>();
  const auto transform = reader.get<std::uint8_t>();
  layout.sparse = (transform & kSparseBit) != 0;
  layout.transform = static_cast<Transform>(transform & ~kSparseBit);
  if (!is_valid(layout)) throw_corrupt("its layout is unknown");
  check_base(layout, out.size(), base, ErrorKind::kCorrupt);
  const std::size_t count = out.size() / layout.width, whole = count * layout.width;
  const std::size_t kept = layout.sparse ? reader.get<std::uint32_t>() : count;
  if (kept > count) throw_corrupt("it has more elements than there is room for");

  scratch.reserve(whole, count);
  const PlaneSpans rooms(layout, count, kept);
  std::array<const std::uint8_t*, kMaxPlanes> stored, by_byte;
  read_planes(kernels, {rooms.of.data(), rooms.size}, reader, {stored.data(), rooms.size});
  for (std::size_t k = 0; k < layout.width; ++k) by_byte[k] = stored[rooms.size - 1 - k];
  const Bytes tail = reader.get_bytes(out.size() - whole);
  if (!reader.ok() || reader.remaining() != 0)
    throw_corrupt("it has another length than it should");
  if (layout.sparse) {
    if (!fits(stored[0], count, kept)) throw_corrupt("its zeros do not fit");
    kernels.merge(Transform::kNone, layout.width, by_byte.data(), nullptr, kept,
                  scratch.elements.data());
    kernels.spread(layout.transform, layout.width, scratch.elements.data(), stored[0], u8(base),
                   count, u8(out));
  } else {
    kernels.merge(layout.transform, layout.width, by_byte.data(), u8(base), count, u8(out));
  }
  if (!tail.empty()) std::memcpy(out.data() + whole, tail.data(), tail.size());
}

}  // namespace flor
