#include "store/chunk_index.h"

namespace flor {

void ChunkIndex::insert(const ChunkPlace& place) {
  if ((places_.size() + 1) * 4 > slots_.size() * 3) grow();
  places_.push_back(place);
  put_slot(static_cast<std::uint32_t>(places_.size() - 1));
  raw_bytes_ += place.raw_bytes;
  stored_bytes_ += place.stored_bytes;
}

void ChunkIndex::grow() {
  slots_.assign(slots_.empty() ? 64 : slots_.size() * 2, kFree);
  for (std::uint32_t i = 0; i < places_.size(); ++i) put_slot(i);
}

void ChunkIndex::put_slot(std::uint32_t place) noexcept {
  std::size_t at = first_slot(places_[place].id);
  while (slots_[at] != kFree) at = (at + 1) & (slots_.size() - 1);
  slots_[at] = place;
}

void ChunkIndex::drop(ChunkPlace& place) noexcept {
  if (place.forgotten) return;
  place.forgotten = true;
  ++forgotten_;
  raw_bytes_ -= place.raw_bytes;
  stored_bytes_ -= place.stored_bytes;
}

void ChunkIndex::forget(std::uint32_t pack, std::uint64_t from_offset) noexcept {
  for (ChunkPlace& place : places_)
    if (place.pack == pack && place.offset >= from_offset) drop(place);
}

void ChunkIndex::forget_one(const ChunkId& id, std::uint32_t pack, std::uint64_t offset) noexcept {
  find(id, [&](const ChunkPlace& place) {
    if (place.pack != pack || place.offset != offset) return false;
    drop(const_cast<ChunkPlace&>(place));  // `find` is const; the place is ours
    return true;
  });
}

}  // namespace flor
