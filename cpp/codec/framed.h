// Any number of bytes through a Chain, chunk by chunk as a store does it, in memory: for measuring
// and testing the codecs by themselves. Not a format on disk.
//
//   framed = (u8 codec, u32 stored length, stored bytes) a chunk
//
// Thread-safety: free functions without shared state.
#pragma once

#include "base/bytes.h"

namespace flor {

// Room that encode_framed may need for so many bytes.
std::size_t framed_bound(std::size_t bytes) noexcept;

// Encodes into `out` and returns how much of it was used. `base` is empty or as long as `in`.
// Throws kInvalid when a length does not fit.
std::size_t encode_framed(Bytes in, Bytes base, MutableBytes out);

// Fills `out`. Throws kCorrupt unless `in` decodes to exactly that many bytes.
void decode_framed(Bytes in, Bytes base, MutableBytes out);

}  // namespace flor
