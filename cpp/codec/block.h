// A block of an intermediate: rows of float32 values, cut in parts (channels of a convolution,
// groups of scalar units), each encoded by itself.
//
// Thread-safety: free functions without shared state.
#pragma once

#include <span>
#include <vector>

#include "base/bytes.h"
#include "codec/affine.h"

namespace flor {

// What the bytes of a part are. The numbers are in the catalogue of intermediates
// (docs/format_intermediates.md), which knows others besides.
enum class ValueCode : std::uint8_t { kExact = 0, kAffine = 3 };

struct BlockPart {
  std::uint64_t start = 0, length = 0;  // in the encoded block
  std::uint32_t code = 0;
  float low = 0, high = 0, error = 0;  // of all finite values; error as floats see it
  std::uint64_t zeros = 0, odd = 0;
};

// Room that an encoded block may need.
std::size_t block_bound(std::size_t rows, std::span<const std::uint32_t> widths) noexcept;

// Encodes the parts of `rows` rows, one behind the other in `block`; a row is `widths` values of
// each part. `by_column`: each column of a part is a channel of its own, else the part is one. A
// part that can't be kept in `code` is exact. Returns how much of `out` was used. Throws kInvalid
// when lengths do not fit.
std::size_t encode_block(std::span<const float> block, std::size_t rows,
                         std::span<const std::uint32_t> widths, bool by_column, ValueCode code,
                         MutableBytes out, std::vector<BlockPart>& parts);

}  // namespace flor
