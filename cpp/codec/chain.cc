#include "codec/chain.h"

#include <array>
#include <cstring>

namespace flor {
namespace {

// Encoded bytes must be at most this share of the raw ones: less is not worth a copy on every read.
constexpr double kLeastShare = 0.95;
// A difference needs a second chunk on every read, so it must beat what does without.
constexpr double kDifferenceShare = 0.95;
constexpr unsigned kChunksPerLook = 16;
constexpr std::size_t kSlices = 4, kSliceBytes = 1024;
// Below this nothing pays for its own header.
constexpr std::size_t kLeastBytes = 64;

bool gains(std::size_t raw_bytes, std::size_t stored_bytes) {
  return static_cast<double>(stored_bytes) <= kLeastShare * static_cast<double>(raw_bytes);
}

// The share that lz4 leaves of four slices spread over the chunk.
double lz4_share(Bytes chunk, Buffer& scratch) {
  if (chunk.size() <= 2 * kSlices * kSliceBytes) {
    encode_to(Codec::kLz4, chunk, scratch);
    return static_cast<double>(scratch.size()) / static_cast<double>(chunk.size());
  }
  std::array<std::byte, kSlices * kSliceBytes> sample;
  const std::size_t step = (chunk.size() - kSliceBytes) / (kSlices - 1);
  for (std::size_t i = 0; i < kSlices; ++i)
    std::memcpy(sample.data() + i * kSliceBytes, chunk.data() + i * step, kSliceBytes);
  encode_to(Codec::kLz4, sample, scratch);
  return static_cast<double>(scratch.size()) / static_cast<double>(sample.size());
}

}  // namespace

Codec Chain::encode(Bytes chunk, const FindBase& find_base, Buffer& out) {
  if (chunk.size() < kLeastBytes) return Codec::kNone;
  const bool looking = chunks_until_look_ == 0;
  DeltaBase base;
  if (looking || codec_ == Codec::kDelta) base = find_base();
  if (looking) look(chunk, base);
  --chunks_until_look_;
  const Codec codec = codec_ == Codec::kDelta && base.bytes.empty() ? without_base_ : codec_;
  if (codec != Codec::kNone) encode_as(codec, chunk, base, out);
  if (codec != Codec::kNone && gains(chunk.size(), out.size())) return codec;
  chunks_until_look_ = 0;
  return Codec::kNone;
}

void Chain::look(Bytes chunk, const DeltaBase& base) {
  chunks_until_look_ = kChunksPerLook;
  const LayoutChoice plain = choose_layout(chunk);
  plain_ = plain.layout;
  double share = kLeastShare;
  without_base_ = Codec::kNone;
  if (plain.share < share) {
    without_base_ = Codec::kPlanes;
    share = plain.share;
  }
  if (const double lz4 = lz4_share(chunk, scratch_); lz4 < share) {
    without_base_ = Codec::kLz4;
    share = lz4;
  }
  codec_ = without_base_;
  if (base.bytes.empty()) return;
  const LayoutChoice difference = choose_difference(chunk, base.bytes);
  difference_ = difference.layout;
  if (difference.share < kDifferenceShare * share) codec_ = Codec::kDelta;
}

void Chain::encode_as(Codec codec, Bytes chunk, const DeltaBase& base, Buffer& out) {
  if (codec == Codec::kPlanes) return encode_planes(plain_, chunk, {}, out);
  if (codec != Codec::kDelta) return encode_to(codec, chunk, out);
  encode_planes(difference_, chunk, base.bytes, scratch_);
  ByteWriter writer(std::move(out));
  put_id(writer, base.id);
  writer.put_bytes(scratch_);
  out = std::move(writer).take();
}

}  // namespace flor
