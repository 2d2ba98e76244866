// Lossy by the user's choice: float32 as small integer codes with a step per block, alone or as a
// difference to what an earlier encoding *decodes to*. That is error feedback: each encoding makes
// up for the error of the one before, so errors never add up.
//
//   quantized = u8 bits, u8 has base, u32 bytes of steps, steps, plane of codes, exact block*
//   steps     = f32 a block of 8192 values; not a number: the block is stored exactly, at the end
//
// The decoded values are the content: what names content, or is a base, is made from them.
// After S. Vartak et al., "MISTIQUE" (SIGMOD 2018), section 4.1, and error feedback as in F. Seide
// et al., "1-bit stochastic gradient descent" (2014).
//
// Thread-safety: free functions without shared state.
#pragma once

#include <span>

#include "base/bytes.h"
#include "codec/kernels.h"

namespace flor {

inline constexpr std::size_t kQuantizeBlock = 8192;

// Replaces `out`; returns the largest absolute error of a value, rounding of floats included.
// Blocks with an infinity, a NaN or too large a range are exact. `bits` 2 to 8; `base` is empty or
// as long as `values`. Throws kInvalid.
float quantize(std::span<const float> values, std::span<const float> base, unsigned bits,
               Buffer& out, const Kernels& kernels = flor::kernels());

// Fills `out`. Throws kCorrupt when `in` is not an encoding of that many values with that base.
void dequantize(Bytes in, std::span<const float> base, std::span<float> out,
                const Kernels& kernels = flor::kernels());

}  // namespace flor
