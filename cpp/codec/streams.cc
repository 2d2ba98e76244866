#include "codec/streams.h"

#include <zstd.h>

#include <algorithm>
#include <array>
#include <memory>

#include "base/error.h"
#include "codec/codec.h"
#include "codec/planes.h"

namespace flor {
namespace {

enum class StreamKind : std::uint8_t { kRaw = 0, kConstant = 1, kZstd = 2, kPlanes = 3 };

constexpr int kQuickLevel = 3;
// A stream whose matches the fast zstd finds no use for (it comes out this near to what the entropy
// of its bytes alone gives) is not searched again by a slow one, which takes 30 times as long.
constexpr double kNoMatches = 0.995;
constexpr std::size_t kMaxWidth = 8;

std::uint8_t* u8(Buffer& bytes) { return reinterpret_cast<std::uint8_t*>(bytes.data()); }
const std::uint8_t* u8(Bytes bytes) { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }

void compress(Bytes in, int level, Buffer& out) {
  // One context a thread: making one costs more than compressing a small stream.
  thread_local const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                                  &ZSTD_freeCCtx);
  out.resize(ZSTD_compressBound(in.size()));
  const std::size_t size =
      ZSTD_compressCCtx(context.get(), out.data(), out.size(), in.data(), in.size(), level);
  if (ZSTD_isError(size) != 0) throw Error(ErrorKind::kInvalid, ZSTD_getErrorName(size));
  out.resize(size);
}

bool is_constant(Bytes in) {
  return !in.empty() && std::all_of(in.begin(), in.end(), [&](std::byte b) { return b == in[0]; });
}

}  // namespace

std::size_t quick_size(const Streams& streams) {
  std::size_t size = 0;
  Buffer packed;
  for (const Buffer& stream : streams) {
    if (is_constant(stream)) {
      size += 2;
      continue;
    }
    compress(stream, kQuickLevel, packed);
    size += 5 + std::min(stream.size(), packed.size());
  }
  return size;
}

void put_stream(Bytes in, int level, ByteWriter& out) {
  if (is_constant(in)) {
    out.put(StreamKind::kConstant);
    return out.put(in[0]);
  }
  Buffer packed, planes;
  encode_planes({}, in, {}, planes);
  compress(in, kQuickLevel, packed);
  const double entropy = static_cast<double>(std::min(planes.size(), in.size()));
  if (level != kQuickLevel && static_cast<double>(packed.size()) < kNoMatches * entropy)
    compress(in, level, packed);
  const Buffer& best = planes.size() < packed.size() ? planes : packed;
  if (best.size() + sizeof(std::uint32_t) >= in.size()) {
    out.put(StreamKind::kRaw);
    return out.put_bytes(in);
  }
  out.put(&best == &planes ? StreamKind::kPlanes : StreamKind::kZstd);
  out.put_sized(best);
}

Buffer get_stream(ByteReader& in, std::size_t size) {
  const auto kind = static_cast<StreamKind>(in.get<std::uint8_t>());
  Buffer out(size);
  switch (kind) {
    case StreamKind::kRaw:
      decode(Codec::kNone, in.get_bytes(size), out);
      return out;
    case StreamKind::kConstant:
      std::fill(out.begin(), out.end(), in.get<std::byte>());
      return out;
    case StreamKind::kZstd:
      decode(Codec::kZstd, in.get_sized(), out);
      return out;
    case StreamKind::kPlanes:
      decode(Codec::kPlanes, in.get_sized(), out);
      return out;
  }
  throw Error(ErrorKind::kCorrupt, "bytes are not a valid stream: its kind is unknown");
}

void add_planes(Transform transform, Bytes in, Bytes base, unsigned width, Streams& streams) {
  const std::size_t count = in.size() / width;
  Buffer all(count * width);
  kernels().split(transform, width, u8(in), u8(base), count, u8(all));
  for (unsigned k = 0; k < width; ++k) {
    const Bytes plane = Bytes(all).subspan(k * count, count);
    streams.emplace_back(plane.begin(), plane.end());
  }
}

Buffer get_planes(Transform transform, std::size_t count, unsigned width, ByteReader& in) {
  Streams planes;
  std::array<const std::uint8_t*, kMaxWidth> at{};
  for (unsigned k = 0; k < width; ++k) planes.push_back(get_stream(in, count));
  for (unsigned k = 0; k < width; ++k) at[k] = u8(planes[k]);
  Buffer out(count * width);
  kernels().merge(transform, width, at.data(), nullptr, count, u8(out));
  return out;
}

void add_steps(Bytes in, unsigned width, Streams& streams) {
  Buffer before(in.size());
  if (in.size() > width) std::memcpy(before.data() + width, in.data(), in.size() - width);
  add_planes(Transform::kIntDifference, in, before, width, streams);
}

Buffer get_steps(std::size_t count, unsigned width, ByteReader& in) {
  Buffer out = get_planes(Transform::kNone, count, width, in);
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t zigzag = get_element(out.data(), i, width);
    value += zigzag >> 1 ^ (0 - (zigzag & 1));
    put_element(out.data(), i, width, value);
  }
  return out;
}

std::uint64_t get_element(const std::byte* from, std::size_t index, unsigned width) noexcept {
  std::uint64_t value = 0;
  std::memcpy(&value, from + index * width, width);
  return value;
}

void put_element(std::byte* to, std::size_t index, unsigned width, std::uint64_t value) noexcept {
  std::memcpy(to + index * width, &value, width);
}

}  // namespace flor
