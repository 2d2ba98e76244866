// The lossless codecs of a chunk. The numbers are bytes on disk (docs/format_store.md).
//
// Thread-safety: free functions without shared state.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace flor {

enum class Codec : std::uint8_t {
  kNone = 0,
  kLz4 = 1,
  kZstd = 2,
  kPlanes = 3,  // codec/planes.h
  kDelta = 4,   // codec/delta.h: needs another chunk, so only the store can decode it
};

// The largest input of `encode`: what LZ4 can address.
inline constexpr std::size_t kMaxCodecInputBytes = 0x7E000000;

// Never fails on content: incompressible input grows a little. Throws kInvalid above
// kMaxCodecInputBytes, and for kDelta. kPlanes takes the layout that a sample says.
Buffer encode(Codec codec, Bytes in);

// As `encode`, into `out`, whose old content is dropped and whose memory is reused.
void encode_to(Codec codec, Bytes in, Buffer& out);

// Fills `out` exactly. Throws kCorrupt when `in` is not an encoding of exactly out.size() bytes,
// whatever `in` holds: it may come from a damaged or hostile file. Throws kNewerFormat for a codec
// that this version does not know, kInvalid for kDelta.
void decode(Codec codec, Bytes in, MutableBytes out);

}  // namespace flor
