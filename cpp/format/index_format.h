// Bytes of `chunks.index`: where each chunk of the sealed packs lies, as a hash table to be mapped.
//
//   index = header packs pad slots places
//
// The index is derived: a store that finds none, or one that is damaged or not of its packs, reads
// the packs' directories instead. docs/format_store.md has the grammar. Little-endian.
//
// Thread-safety: free functions; a view is immutable. No I/O.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "format/pack_format.h"

namespace flor::index {

inline constexpr std::string_view kMagic = "FLORINDX";
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::size_t kHeaderBytes = 128, kPackBytes = 16, kPlaceBytes = 48;
inline constexpr std::uint32_t kFreeSlot = 0xFFFFFFFF;

// A sealed pack, and its length: that of another file of this name would be another.
struct Pack {
  std::uint64_t id = 0, file_bytes = 0;
  bool operator==(const Pack&) const = default;
};

struct Place {
  pack::ChunkEntry entry;
  std::uint32_t pack = 0;  // which of the packs
  bool operator==(const Place&) const = default;
};

// REQUIRES: fewer than 2^31 places, each of one of `packs`.
Buffer encode_index(const std::vector<Pack>& packs, const std::vector<Place>& places);

// An index in memory that outlives the view.
class View {
 public:
  View() = default;
  // Checks lengths and checksums, which every byte is under. Throws kCorrupt, kNewerFormat, with
  // `path`.
  View(Bytes file, const std::string& path);

  std::uint64_t size() const noexcept { return size_; }
  std::uint64_t raw_bytes() const noexcept { return raw_bytes_; }
  std::uint64_t stored_bytes() const noexcept { return stored_bytes_; }
  std::vector<Pack> packs() const;
  Place place(std::uint64_t number) const noexcept;

  // Calls `visit(number)` for each place of `id` until it returns true; returns whether it did.
  template <typename Visit>
  bool find(const ChunkId& id, Visit&& visit) const {
    if (size_ == 0) return false;
    const std::uint64_t mask = slot_count_ - 1;
    for (std::uint64_t at = id.hash.low & mask;; at = (at + 1) & mask) {
      const std::uint32_t number = slot(at);
      if (number == kFreeSlot) return false;
      if (id_at(number) == id && visit(number)) return true;
    }
  }

 private:
  std::uint32_t slot(std::uint64_t at) const noexcept {
    return load<std::uint32_t>(slots_ + at * sizeof(std::uint32_t));
  }
  ChunkId id_at(std::uint64_t number) const noexcept;

  Bytes packs_;
  const std::byte *slots_ = nullptr, *places_ = nullptr;
  std::uint64_t slot_count_ = 0, size_ = 0, raw_bytes_ = 0, stored_bytes_ = 0;
};

}  // namespace flor::index
