// The inner loops of the codecs, once per instruction set: plain C++ (which is NEON on AArch64 by
// the compiler's own vectorizer), AVX2, AVX-512. All give the same bytes; tests/cpp/codec holds
// them to it. The source is one (kernels_loops.h, rans_loops.h), compiled with different flags.
//
// Thread-safety: free functions without state; the choice is made once, at first use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace flor {

// What happens to each element, read as an unsigned integer of its width, before its bytes are laid
// out in planes. Numbers are bytes on disk (docs/format_store.md).
enum class Transform : std::uint8_t {
  kNone = 0,
  kRotate = 1,  // rotate left by one: a float's exponent fills the top byte, its sign goes last
  kFloatDifference = 2,  // zigzag of the difference to the base, both in the floats' monotone order
  kIntDifference = 3,    // zigzag of the difference to the base
  kXor = 4,              // with the base
};
inline constexpr std::uint8_t kTransforms = 5;
constexpr bool needs_base(Transform transform) noexcept {
  return transform >= Transform::kFloatDifference;
}

// Interleaved rANS coders: symbol i belongs to state i % kRansLanes. Probabilities are multiples of
// 1/4096; states lie in [2^15, 2^31) and take or give 16 bits at a time.
inline constexpr std::size_t kRansLanes = 32;
inline constexpr unsigned kRansScaleBits = 12;
inline constexpr std::uint32_t kRansScale = 1u << kRansScaleBits, kRansLow = 1u << 15;

// Per symbol: freq | bias << 12 | shift << 25, and the reciprocal of freq: x / freq is
// (x * reciprocal >> 32) >> shift for every x below 2^31.
struct RansEncodeTable {
  std::uint32_t packed[256], reciprocal[256];
};
// Per slot: symbol | freq << 8 | (slot - start) << 20.
struct RansDecodeTable {
  std::uint32_t slot[kRansScale];
};

struct Kernels {
  const char* name;

  // Element i's byte k goes to planes[k * count + i]. `in` and `base` need no alignment.
  void (*split)(Transform transform, unsigned width, const std::uint8_t* in,
                const std::uint8_t* base, std::size_t count, std::uint8_t* planes);
  // The inverse; each plane has its own place.
  void (*merge)(Transform transform, unsigned width, const std::uint8_t* const* planes,
                const std::uint8_t* base, std::size_t count, std::uint8_t* out);

  // Leaves out the elements that are zero after the transform: appends the others to `elements`,
  // which has room for one more than there are, and bit i % 4 of nibbles[i / 4] says whether
  // element i is there. Returns how many are. `spread` is the inverse, with one readable element
  // too many.
  std::size_t (*compact)(Transform transform, unsigned width, const std::uint8_t* in,
                         const std::uint8_t* base, std::size_t count, std::uint8_t* elements,
                         std::uint8_t* nibbles);
  void (*spread)(Transform transform, unsigned width, const std::uint8_t* elements,
                 const std::uint8_t* nibbles, const std::uint8_t* base, std::size_t count,
                 std::uint8_t* out);

  // Codes of x - base (base may be null) in steps of `step`, at most `most` away from 0, rounded to
  // the nearest; returns the largest |x - what dequantize gives|, not a number when some x is none
  // or infinite.
  float (*quantize)(const float* x, const float* base, std::size_t count, float step, float most,
                    std::int8_t* codes);
  void (*dequantize)(const std::int8_t* codes, const float* base, std::size_t count, float step,
                     float* out);
  // The largest |x - base|; not a number when some is none or infinite.
  float (*largest)(const float* x, const float* base, std::size_t count);

  // Rows of `width` interleaved channels. Widens low and high, adds the zeros, and makes odd not a
  // number, of each channel, where a value is none or infinite; numbers that are none count nowhere
  // else.
  void (*range)(const float* x, std::size_t rows, std::size_t width, float* low, float* high,
                std::uint32_t* zeros, float* odd);
  // Code of x: its steps from the channel's offset, rounded to the nearest, and the channel's zero
  // added, 0 to 255. Raises error to the largest |x - what affine_decode gives|.
  void (*affine_encode)(const float* x, std::size_t rows, std::size_t width, const float* offset,
                        const float* step, const float* zero, std::uint8_t* codes, float* error);
  // Row r goes to out + r * stride.
  void (*affine_decode)(const std::uint8_t* codes, std::size_t rows, std::size_t width,
                        const float* offset, const float* step, const float* zero, float* out,
                        std::size_t stride);

  // Takes `blocks` times kRansLanes symbols, last first; writes words of 16 bits downwards from
  // `at` and returns where the lowest begins. 16 bytes below that may be overwritten.
  std::uint8_t* (*encode)(std::uint32_t* states, const RansEncodeTable& table,
                          const std::uint8_t* symbols, std::size_t blocks, std::uint8_t* at);
  // Gives up to `blocks` times kRansLanes symbols; stops early when `at` is behind `last`, from
  // which kRansLanes words can be read. Returns blocks done; advances `at`. No alignment needed.
  std::size_t (*decode)(std::uint32_t* states, const RansDecodeTable& table, std::uint8_t* symbols,
                        std::size_t blocks, const std::uint8_t*& at, const std::uint8_t* last);
};

// The fastest that this processor has.
const Kernels& kernels() noexcept;
// All that this processor has, slowest first.
std::span<const Kernels* const> all_kernels() noexcept;

}  // namespace flor
