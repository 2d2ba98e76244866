#include "store/chunk_index.h"

namespace flor {

void ChunkIndex::attach(std::shared_ptr<MappedFile> file, index::View view) {
  file_ = std::move(file);
  mapped_ = view;
  raw_bytes_ = view.raw_bytes();
  stored_bytes_ = view.stored_bytes();
}

ChunkPlace ChunkIndex::mapped_place(std::uint32_t number) const noexcept {
  const index::Place place = mapped_.place(number);
  return {place.entry.id,           place.entry.checksum,  place.entry.offset, place.pack,
          place.entry.stored_bytes, place.entry.raw_bytes, place.entry.codec,  false};
}

std::vector<ChunkPlace> ChunkIndex::places() const {
  std::vector<ChunkPlace> known;
  known.reserve(size());
  for (std::uint32_t i = 0; i < mapped_.size(); ++i)
    if (!mapped_forgotten_.contains(i)) known.push_back(mapped_place(i));
  for (const ChunkPlace& place : places_)
    if (!place.forgotten) known.push_back(place);
  return known;
}

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

void ChunkIndex::drop_mapped(std::uint32_t number) {
  if (!mapped_forgotten_.insert(number).second) return;
  const ChunkPlace place = mapped_place(number);
  ++forgotten_;
  raw_bytes_ -= place.raw_bytes;
  stored_bytes_ -= place.stored_bytes;
}

void ChunkIndex::forget(std::uint32_t pack, std::uint64_t from_offset) {
  for (std::uint32_t i = 0; i < mapped_.size(); ++i)
    if (const ChunkPlace place = mapped_place(i); place.pack == pack && place.offset >= from_offset)
      drop_mapped(i);
  for (ChunkPlace& place : places_)
    if (place.pack == pack && place.offset >= from_offset) drop(place);
}

void ChunkIndex::forget_one(const ChunkId& id, std::uint32_t pack, std::uint64_t offset) {
  const auto is_it = [&](const ChunkPlace& place) {
    return place.id == id && place.pack == pack && place.offset == offset;
  };
  const bool done = mapped_.find(id, [&](std::uint32_t number) {
    if (!is_it(mapped_place(number))) return false;
    drop_mapped(number);
    return true;
  });
  if (done || slots_.empty()) return;
  for (std::size_t at = first_slot(id); slots_[at] != kFree; at = (at + 1) & (slots_.size() - 1))
    if (is_it(places_[slots_[at]])) drop(places_[slots_[at]]);
}

}  // namespace flor
