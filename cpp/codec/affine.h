// 8 bits a value between the least and the largest of its channel: what activations are kept in.
//
//   affine = f32 offset × channels, f32 step × channels, u8 zero × channels, u8 code × values
//   value  = (code - zero) × step + offset
//
// A channel whose range holds 0 has offset 0 and a code that means exactly 0, so that what a ReLU
// made stays sparse; another begins at its least value. After M. Vartak et al., "MISTIQUE" (SIGMOD
// 2018), section 4.1, whose 8-bit quantiles it takes the place of.
//
// Thread-safety: free functions without shared state.
#pragma once

#include <span>

#include "base/bytes.h"
#include "codec/kernels.h"

namespace flor {

// What is known of some values. With no value: low above high.
struct ValueStats {
  float low, high;
  std::uint64_t zeros = 0, odd = 0;  // odd: not a number
  bool finite = true;
};

// Looks at rows of `width` values each; one result a channel, or one in all when `channels` is 1.
std::vector<ValueStats> value_stats(std::span<const float> values, std::size_t channels,
                                    const Kernels& kernels = flor::kernels());

// Room that `count` values take.
constexpr std::size_t affine_bytes(std::size_t count, std::size_t channels) noexcept {
  return 9 * channels + count;
}

// Encodes values whose number is a multiple of `channels` (value i is of channel i mod channels)
// into `out`, of affine_bytes. Returns the largest absolute error as floats see it, or not a number
// when they can't be kept so: some value is not finite, a range is no normal float. `out` is void
// then.
float affine_encode(std::span<const float> values, std::span<const ValueStats> stats,
                    MutableBytes out, const Kernels& kernels = flor::kernels());

// Fills rows of `width` values, each `stride` behind the one before. Throws kCorrupt when `in` is
// not an encoding of as many values.
void affine_decode(Bytes in, std::size_t channels, std::size_t rows, std::size_t width, float* out,
                   std::size_t stride, const Kernels& kernels = flor::kernels());

}  // namespace flor
