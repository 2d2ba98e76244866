#include "codec/chain.h"

#include <array>
#include <cstring>

namespace flor {
namespace {

// Encoded bytes must be at most this share of the raw ones: less is not worth a copy on every read.
constexpr double kLeastShare = 0.95;
// A difference needs a second chunk on every read, so it must beat what does without.
constexpr double kDifferenceShare = 0.95;
// zstd must be this much smaller than lz4.
constexpr double kZstdShare = 0.9;
constexpr unsigned kChunksPerLook = 16;
// A chunk that comes out this much larger than the one that was looked at is looked at itself.
constexpr double kSurprise = 1.15;
constexpr std::size_t kSlices = 4, kSliceBytes = 1024;
// Below this nothing pays for its own header.
constexpr std::size_t kLeastBytes = 64;

// Of the raw bytes.
double share(Codec codec, Bytes chunk, const Buffer& encoded) {
  return codec == Codec::kNone
             ? 1
             : static_cast<double>(encoded.size()) / static_cast<double>(chunk.size());
}

// Four slices spread over the chunk: floats in one half and text in the other are seen.
class Slices {
 public:
  explicit Slices(Bytes chunk) {
    if (chunk.size() <= 2 * kSlices * kSliceBytes) {
      bytes_ = chunk;
      return;
    }
    const std::size_t step = (chunk.size() - kSliceBytes) / (kSlices - 1);
    for (std::size_t i = 0; i < kSlices; ++i)
      std::memcpy(copy_.data() + i * kSliceBytes, chunk.data() + i * step, kSliceBytes);
    bytes_ = copy_;
  }
  Slices(const Slices&) = delete;
  Slices& operator=(const Slices&) = delete;

  double share(Codec codec, Buffer& scratch) const {
    encode_to(codec, bytes_, scratch);
    return static_cast<double>(scratch.size()) / static_cast<double>(bytes_.size());
  }

 private:
  std::array<std::byte, kSlices * kSliceBytes> copy_;
  Bytes bytes_;
};

}  // namespace

Codec Chain::encode(Bytes chunk, const FindBase& find_base, Buffer& out) {
  if (chunk.size() < kLeastBytes) return Codec::kNone;
  DeltaBase base;
  bool looked = chunks_until_look_ == 0;
  if (looked || codec_ == Codec::kDelta) base = find_base();
  if (looked) look(chunk, base);
  --chunks_until_look_;
  Codec codec = encode_chosen(chunk, base, out);
  if (!looked && share(codec, chunk, out) > kSurprise * expected_share_) {
    // Not like the chunk that was looked at.
    if (base.bytes.empty()) base = find_base();
    look(chunk, base);
    codec = encode_chosen(chunk, base, out);
  }
  if (codec == Codec::kNone) chunks_until_look_ = 0;
  return codec;
}

Codec Chain::encode_chosen(Bytes chunk, const DeltaBase& base, Buffer& out) {
  const Codec codec = codec_ == Codec::kDelta && base.bytes.empty() ? without_base_ : codec_;
  if (codec == Codec::kNone) return codec;
  encode_as(codec, chunk, base, out);
  return share(codec, chunk, out) <= kLeastShare ? codec : Codec::kNone;
}

void Chain::look(Bytes chunk, const DeltaBase& base) {
  chunks_until_look_ = kChunksPerLook;
  const LayoutChoice plain = choose_layout(chunk);
  plain_ = plain.layout;
  expected_share_ = kLeastShare;
  without_base_ = Codec::kNone;
  if (plain.share < expected_share_) {
    without_base_ = Codec::kPlanes;
    expected_share_ = plain.share;
  }
  const Slices slices(chunk);
  if (const double lz4 = slices.share(Codec::kLz4, scratch_); lz4 < expected_share_) {
    without_base_ = Codec::kLz4;
    expected_share_ = lz4;
    // Slower both ways, so asked only where there are repetitions at all.
    if (const double zstd = slices.share(Codec::kZstd, scratch_); zstd < kZstdShare * lz4) {
      without_base_ = Codec::kZstd;
      expected_share_ = zstd;
    }
  }
  codec_ = without_base_;
  if (base.bytes.empty()) return;
  const LayoutChoice difference = choose_difference(chunk, base.bytes);
  difference_ = difference.layout;
  if (difference.share >= kDifferenceShare * expected_share_) return;
  codec_ = Codec::kDelta;
  expected_share_ = difference.share;
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
