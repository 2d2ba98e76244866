// The names of content: of one chunk, and of a run of chunks
// (docs/decisions/0002-chunk-identity.md).
//
// Thread-safety: plain values.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "base/hash.h"

namespace flor {

// Content is cut every 64 KiB, counted from the start of its region; the last chunk is what
// remains.
inline constexpr std::uint32_t kChunkBytes = 64 * 1024;

// XXH3-128 of the decoded content, seeded by `salt`. The salt is 0 unless that name already
// belonged to other content when the chunk was stored.
struct ChunkId {
  static constexpr std::size_t kBytes = 17;

  Hash128 hash;
  std::uint8_t salt = 0;
  auto operator<=>(const ChunkId&) const = default;
};

// "<32 hex digits>" or "<32 hex digits>+<salt>".
std::string to_text(const ChunkId& id);

// low u64, high u64, salt u8.
void put_id(ByteWriter& out, const ChunkId& id);
ChunkId get_id(ByteReader& in) noexcept;

// The name of any number of bytes: equal names are equal content, within one store.
struct ContentRef {
  std::uint64_t nbytes = 0;
  std::vector<ChunkId> chunks;  // ceil(nbytes / kChunkBytes) of them
  bool operator==(const ContentRef&) const = default;
};

constexpr std::uint64_t chunk_count(std::uint64_t nbytes) noexcept {
  return nbytes / kChunkBytes + (nbytes % kChunkBytes != 0);
}
// The length of chunk `index` of `nbytes`. REQUIRES: index < chunk_count(nbytes).
constexpr std::uint32_t chunk_length(std::uint64_t nbytes, std::uint64_t index) noexcept {
  const std::uint64_t rest = nbytes - index * kChunkBytes;
  return rest < kChunkBytes ? static_cast<std::uint32_t>(rest) : kChunkBytes;
}

// u64 nbytes, then the ids. Decoding throws kInvalid when the length does not fit `nbytes`.
Buffer encode_ref(const ContentRef& ref);
ContentRef decode_ref(Bytes bytes);

}  // namespace flor
