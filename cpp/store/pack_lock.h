// Who relies on which pack: locks on the bytes of one file of the store, `packs.lock`.
//
//   shared on a pack's byte      a process that writes to it, or that has named a chunk of it
//   instead
//                                of storing it anew; held until its store is closed
//   exclusive on a pack's byte   a sweep (store/sweeper.h) that may remove the pack
//   exclusive on byte 0          a sweep: one at a time
//
// The protocol is in docs/format_store.md, "Removing packs".
#pragma once

#include <cstdint>
#include <string>

namespace flor {

inline const std::string kPackLocks = "packs.lock";
inline constexpr std::uint64_t kSweepLock = 0;

// Offsets are positive 63-bit numbers. Packs that share one are only kept a little longer.
constexpr std::uint64_t lock_of_pack(std::uint64_t pack_id) noexcept { return 1 + (pack_id >> 2); }

}  // namespace flor
