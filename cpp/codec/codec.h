// General-purpose lossless codecs: none, lz4, zstd. The numbers are bytes on disk (docs/format.md).
//
// Thread-safety: free functions without shared state.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace flor {

enum class Codec : std::uint8_t { kNone = 0, kLz4 = 1, kZstd = 2 };

// The largest input of `encode`: what LZ4 can address.
inline constexpr std::size_t kMaxCodecInputBytes = 0x7E000000;

bool is_known_codec(std::uint8_t value) noexcept;

// Never fails on content: incompressible input grows a little. Throws kInvalid above
// kMaxCodecInputBytes.
Buffer encode(Codec codec, Bytes in);

// As `encode`, into `out`, whose old content is dropped and whose memory is reused.
void encode_to(Codec codec, Bytes in, Buffer& out);

// Fills `out` exactly. Throws kCorrupt when `in` is not an encoding of exactly out.size() bytes,
// whatever `in` holds: it may come from a damaged or hostile file.
void decode(Codec codec, Bytes in, MutableBytes out);

}  // namespace flor
