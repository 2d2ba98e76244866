#include "codec/layout.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "codec/plane_list.h"

namespace flor {
namespace {

// States, kinds and tables of a block, and what leaving out zeros adds, roughly.
constexpr double kOverheadBytes = 250, kSparseBytes = 1;

// Runs of whole 8-byte words spread over the bytes, so that every width sees its own bytes.
struct Sample {
  static constexpr std::size_t kRuns = 8, kRunBytes = 512;
  std::array<std::uint8_t, kRuns * kRunBytes> bytes;
  std::size_t size;

  explicit Sample(Bytes from) : size(std::min(from.size() / 8 * 8, bytes.size())) {
    static_assert(kRuns * kRunBytes <= kMaxSampleSymbols);
    if (size < bytes.size()) {
      if (size > 0) std::memcpy(bytes.data(), from.data(), size);
      return;
    }
    const std::size_t step = (from.size() - kRunBytes) / (kRuns - 1) / 8 * 8;
    for (std::size_t i = 0; i < kRuns; ++i)
      std::memcpy(bytes.data() + i * kRunBytes, from.data() + i * step, kRunBytes);
  }
};

double bits_of_planes(const std::uint8_t* planes, std::size_t width, std::size_t count) {
  double bits = 0;
  for (std::size_t k = 0; k < width; ++k) bits += sample_bits({planes + k * count, count});
  return bits;
}

class Judge {
 public:
  Judge(Bytes bytes, Bytes base)
      : sample_(bytes), base_(base), has_base_(!base.empty()), bytes_(bytes.size()) {}

  // The best of all, narrow ones first: a wider one has more tables, so it must be clearly better.
  LayoutChoice best(std::span<const PlaneLayout> layouts) {
    LayoutChoice best{layouts[0], 1};
    if (sample_.size == 0) return best;
    for (const PlaneLayout layout : layouts)
      if (const double found = share(layout); found < 0.99 * best.share) best = {layout, found};
    PlaneLayout sparse = best.layout;
    sparse.sparse = true;
    if (const double found = share(sparse); found < 0.997 * best.share) best = {sparse, found};
    return best;
  }

 private:
  double share(PlaneLayout layout) {
    std::size_t count = sample_.size / layout.width;
    const std::uint8_t* base = has_base_ ? base_.bytes.data() : nullptr;
    double bits = 0;
    if (layout.sparse) {
      std::array<std::uint8_t, kMaxSampleSymbols / 4> nibbles;
      const std::size_t kept =
          kernels().compact(layout.transform, layout.width, sample_.bytes.data(), base, count,
                            elements_.data(), nibbles.data());
      bits = sample_bits({nibbles.data(), (count + 3) / 4}) + 8 * kSparseBytes;
      count = kept;
      kernels().split(Transform::kNone, layout.width, elements_.data(), nullptr, count,
                      planes_.data());
    } else {
      kernels().split(layout.transform, layout.width, sample_.bytes.data(), base, count,
                      planes_.data());
    }
    bits += bits_of_planes(planes_.data(), layout.width, count);
    return bits / (8 * static_cast<double>(sample_.size)) +
           kOverheadBytes / static_cast<double>(bytes_);
  }

  const Sample sample_, base_;
  const bool has_base_;
  const std::size_t bytes_;
  std::array<std::uint8_t, kMaxSampleSymbols> planes_;
  std::array<std::uint8_t, kMaxSampleSymbols + 8> elements_;
};

}  // namespace

LayoutChoice choose_layout(Bytes bytes) {
  static constexpr PlaneLayout kLayouts[] = {{1, Transform::kNone},   {2, Transform::kRotate},
                                             {4, Transform::kRotate}, {8, Transform::kRotate},
                                             {2, Transform::kNone},   {4, Transform::kNone},
                                             {8, Transform::kNone}};
  return Judge(bytes, {}).best(kLayouts);
}

LayoutChoice choose_difference(Bytes bytes, Bytes base) {
  static constexpr PlaneLayout kLayouts[] = {{1, Transform::kXor},
                                             {2, Transform::kFloatDifference},
                                             {4, Transform::kFloatDifference},
                                             {8, Transform::kFloatDifference},
                                             {2, Transform::kIntDifference},
                                             {4, Transform::kIntDifference},
                                             {8, Transform::kIntDifference},
                                             {2, Transform::kXor},
                                             {4, Transform::kXor},
                                             {8, Transform::kXor}};
  return Judge(bytes, base).best(kLayouts);
}

}  // namespace flor
