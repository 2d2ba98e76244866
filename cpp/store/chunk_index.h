// Where each chunk lies: an open-addressing hash table in memory, rebuilt from the packs when a
// store opens.
//
// One id may have several places: two processes stored the same content at once, or a fresh copy
// stands in for a damaged one. All are kept, so that a reader can fall back on another copy.
//
// Cost: 48 bytes a place and 6 to 12 bytes of table; a look-up touches one cache line of each.
//
// Thread-safety: none of its own; ChunkStore guards it with a reader-writer lock.
#pragma once

#include <cstdint>
#include <vector>

#include "format/chunk_id.h"

namespace flor {

struct ChunkPlace {
  ChunkId id;
  std::uint64_t checksum = 0;  // of the stored bytes
  std::uint64_t offset = 0;    // in the pack file
  std::uint32_t pack = 0;      // ChunkStore's number of the pack
  std::uint32_t stored_bytes = 0;
  std::uint32_t raw_bytes = 0;
  std::uint8_t codec = 0;
  bool forgotten = false;
  std::uint64_t end() const noexcept { return offset + stored_bytes; }
};

class ChunkIndex {
 public:
  void insert(const ChunkPlace& place);

  // Calls `visit(place)` for each known place of `id`, oldest first, until it returns true. Returns
  // whether it did.
  template <typename Visit>
  bool find(const ChunkId& id, Visit&& visit) const {
    if (slots_.empty()) return false;
    for (std::size_t at = first_slot(id);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at] == kFree) return false;
      const ChunkPlace& place = places_[slots_[at]];
      if (place.id == id && !place.forgotten && visit(place)) return true;
    }
  }

  // Drops the places in `pack` at or behind `from_offset`: those whose bytes can't be relied on.
  void forget(std::uint32_t pack, std::uint64_t from_offset) noexcept;
  // Drops the one place at `offset`.
  void forget_one(const ChunkId& id, std::uint32_t pack, std::uint64_t offset) noexcept;

  std::size_t size() const noexcept { return places_.size() - forgotten_; }
  std::uint64_t raw_bytes() const noexcept { return raw_bytes_; }
  std::uint64_t stored_bytes() const noexcept { return stored_bytes_; }
  const std::vector<ChunkPlace>& places() const noexcept { return places_; }

 private:
  static constexpr std::uint32_t kFree = 0xFFFFFFFF;

  std::size_t first_slot(const ChunkId& id) const noexcept {
    return static_cast<std::size_t>(id.hash.low) & (slots_.size() - 1);
  }
  void grow();
  void put_slot(std::uint32_t place) noexcept;
  void drop(ChunkPlace& place) noexcept;

  std::vector<ChunkPlace> places_;
  std::vector<std::uint32_t> slots_;  // a power of two of them, at most three quarters in use
  std::size_t forgotten_ = 0;
  std::uint64_t raw_bytes_ = 0, stored_bytes_ = 0;
};

}  // namespace flor
