// Checksums and content hashes, both from XXH3 (Debian's libxxhash, header-only use).
//
// `checksum64` finds damage; it proves nothing about who wrote the bytes. `hash128` names content:
// it is fast, not collision-resistant against an adversary, so the store compares bytes before it
// trusts an equal id (docs/decisions/0002-chunk-identity.md).
#pragma once

#include <array>
#include <compare>
#include <cstdint>

#include "base/bytes.h"

namespace flor {

std::uint64_t checksum64(Bytes bytes, std::uint64_t seed = 0) noexcept;

struct Hash128 {
  std::uint64_t low = 0, high = 0;
  auto operator<=>(const Hash128&) const = default;
};
Hash128 hash128(Bytes bytes, std::uint64_t seed = 0) noexcept;

// 32 lower-case hexadecimal digits, high word first.
std::string to_hex(const Hash128& hash);

}  // namespace flor
