// Where each chunk lies: the mapped index file of the sealed packs (format/index_format.h), where
// there is one, and an open-addressing hash table in memory of what was read from packs since.
//
// One id may have several places: two processes stored the same content at once, or a fresh copy
// stands in for a damaged one. All are kept, so that a reader can fall back on another copy.
//
// Cost: of a mapped place nothing; of another 56 bytes and 6 to 12 bytes of table. A look-up
// touches one cache line of each.
//
// Thread-safety: none of its own; ChunkStore guards it with a reader-writer lock.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>
#include <vector>

#include "base/file.h"
#include "format/chunk_id.h"
#include "format/index_format.h"

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
  // Takes over what an index file says; pack n of the file is pack n of the places. REQUIRES:
  // empty.
  void attach(std::shared_ptr<MappedFile> file, index::View view);
  void insert(const ChunkPlace& place);

  // Calls `visit(place)` for each known place of `id`, oldest first, until it returns true. Returns
  // whether it did.
  template <typename Visit>
  bool find(const ChunkId& id, Visit&& visit) const {
    const bool done = mapped_.find(id, [&](std::uint32_t number) {
      return !mapped_forgotten_.contains(number) && visit(mapped_place(number));
    });
    if (done || slots_.empty()) return done;
    for (std::size_t at = first_slot(id);; at = (at + 1) & (slots_.size() - 1)) {
      if (slots_[at] == kFree) return false;
      const ChunkPlace& place = places_[slots_[at]];
      if (place.id == id && !place.forgotten && visit(place)) return true;
    }
  }

  // Drops the places in `pack` at or behind `from_offset`: those whose bytes can't be relied on.
  void forget(std::uint32_t pack, std::uint64_t from_offset);
  // Drops the one place at `offset`.
  void forget_one(const ChunkId& id, std::uint32_t pack, std::uint64_t offset);

  std::size_t size() const noexcept { return mapped_.size() + places_.size() - forgotten_; }
  std::uint64_t raw_bytes() const noexcept { return raw_bytes_; }
  std::uint64_t stored_bytes() const noexcept { return stored_bytes_; }
  // How many places the index file had.
  std::uint64_t mapped_size() const noexcept { return mapped_.size(); }
  // A copy of all places that are not forgotten.
  std::vector<ChunkPlace> places() const;

 private:
  static constexpr std::uint32_t kFree = 0xFFFFFFFF;

  std::size_t first_slot(const ChunkId& id) const noexcept {
    return static_cast<std::size_t>(id.hash.low) & (slots_.size() - 1);
  }
  ChunkPlace mapped_place(std::uint32_t number) const noexcept;
  void drop_mapped(std::uint32_t number);
  void grow();
  void put_slot(std::uint32_t place) noexcept;
  void drop(ChunkPlace& place) noexcept;

  std::shared_ptr<MappedFile> file_;  // what mapped_ looks at
  index::View mapped_;
  std::unordered_set<std::uint32_t> mapped_forgotten_;
  std::vector<ChunkPlace> places_;
  std::vector<std::uint32_t> slots_;  // a power of two of them, at most three quarters in use
  std::size_t forgotten_ = 0;
  std::uint64_t raw_bytes_ = 0, stored_bytes_ = 0;
};

}  // namespace flor
