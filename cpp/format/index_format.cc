#include "format/index_format.h"

#include "base/error.h"

namespace flor::index {
namespace {

constexpr std::size_t kCheckedHeader = kHeaderBytes - 8;

// A power of two, so that at most three quarters are in use; a multiple of 64 bytes.
std::uint64_t slots_for(std::uint64_t places) noexcept {
  std::uint64_t slots = 16;
  while (slots * 3 < places * 4) slots *= 2;
  return slots;
}

std::vector<std::uint32_t> make_slots(const std::vector<Place>& places) {
  std::vector<std::uint32_t> slots(slots_for(places.size()), kFreeSlot);
  for (std::uint32_t i = 0; i < places.size(); ++i) {
    std::uint64_t at = places[i].entry.id.hash.low & (slots.size() - 1);
    while (slots[at] != kFreeSlot) at = (at + 1) & (slots.size() - 1);
    slots[at] = i;
  }
  return slots;
}

void put_place(ByteWriter& out, const Place& place) {
  out.put(place.entry.id.hash.low);
  out.put(place.entry.id.hash.high);
  out.put(place.entry.checksum);
  out.put(place.entry.offset);
  out.put(place.pack);
  out.put(place.entry.stored_bytes);
  out.put(place.entry.raw_bytes);
  out.put(place.entry.id.salt);
  out.put(place.entry.codec);
  out.put(std::uint16_t{0});
}

[[noreturn]] void throw_corrupt(const std::string& what, const std::string& path) {
  throw Error(ErrorKind::kCorrupt, "the index of chunks " + what, path);
}

}  // namespace

Buffer encode_index(const std::vector<Pack>& packs, const std::vector<Place>& places) {
  ByteWriter body;
  for (const Pack& pack : packs) {
    body.put(pack.id);
    body.put(pack.file_bytes);
  }
  while (body.size() % pack::kAlignment != 0) body.put(std::uint8_t{0});
  const std::vector<std::uint32_t> slots = make_slots(places);
  for (const std::uint32_t slot : slots) body.put(slot);
  std::uint64_t raw = 0, stored = 0;
  for (const Place& place : places) {
    put_place(body, place);
    raw += place.entry.raw_bytes;
    stored += place.entry.stored_bytes;
  }
  ByteWriter out;
  out.put_bytes(as_bytes(kMagic));
  out.put(kVersion);
  out.put(static_cast<std::uint32_t>(kHeaderBytes));
  for (const std::uint64_t number :
       {std::uint64_t{packs.size()}, std::uint64_t{places.size()}, std::uint64_t{slots.size()}, raw,
        stored, checksum64(body.view())})
    out.put(number);
  while (out.size() < kCheckedHeader) out.put(std::uint8_t{0});
  out.put(checksum64(out.view()));
  out.put_bytes(body.view());
  return std::move(out).take();
}

View::View(Bytes file, const std::string& path) {
  if (file.size() < kHeaderBytes || as_text(file.first(8)) != kMagic)
    throw_corrupt("has no header", path);
  if (const auto version = load<std::uint32_t>(file.data() + 8); version > kVersion)
    throw Error(ErrorKind::kNewerFormat, "the index of chunks was written by a newer flor", path, 8,
                std::to_string(kVersion) + " or lower", std::to_string(version));
  if (load<std::uint64_t>(file.data() + kCheckedHeader) != checksum64(file.first(kCheckedHeader)))
    throw_corrupt("fails its header's checksum", path);
  ByteReader in(file.subspan(16));
  const auto packs = in.get<std::uint64_t>();
  size_ = in.get<std::uint64_t>();
  slot_count_ = in.get<std::uint64_t>();
  raw_bytes_ = in.get<std::uint64_t>();
  stored_bytes_ = in.get<std::uint64_t>();
  const auto checksum = in.get<std::uint64_t>();
  const std::uint64_t limit = file.size();
  if (packs > limit || size_ > limit || slot_count_ != slots_for(size_) ||
      kHeaderBytes + pack::align(packs * kPackBytes) + slot_count_ * 4 + size_ * kPlaceBytes !=
          limit)
    throw_corrupt("has another length than its header says", path);
  if (checksum64(file.subspan(kHeaderBytes)) != checksum) throw_corrupt("fails its checksum", path);
  packs_ = file.subspan(kHeaderBytes, packs * kPackBytes);
  slots_ = file.data() + kHeaderBytes + pack::align(packs * kPackBytes);
  places_ = slots_ + slot_count_ * 4;
}

std::vector<Pack> View::packs() const {
  std::vector<Pack> packs;
  ByteReader in(packs_);
  for (std::size_t i = 0; i < packs_.size() / kPackBytes; ++i) {
    Pack pack;
    pack.id = in.get<std::uint64_t>();
    pack.file_bytes = in.get<std::uint64_t>();
    packs.push_back(pack);
  }
  return packs;
}

ChunkId View::id_at(std::uint64_t number) const noexcept {
  const std::byte* const at = places_ + number * kPlaceBytes;
  ChunkId id;
  id.hash.low = load<std::uint64_t>(at);
  id.hash.high = load<std::uint64_t>(at + 8);
  id.salt = load<std::uint8_t>(at + 44);
  return id;
}

Place View::place(std::uint64_t number) const noexcept {
  const std::byte* const at = places_ + number * kPlaceBytes;
  Place place;
  place.entry.id = id_at(number);
  place.entry.checksum = load<std::uint64_t>(at + 16);
  place.entry.offset = load<std::uint64_t>(at + 24);
  place.pack = load<std::uint32_t>(at + 32);
  place.entry.stored_bytes = load<std::uint32_t>(at + 36);
  place.entry.raw_bytes = load<std::uint32_t>(at + 40);
  place.entry.codec = load<std::uint8_t>(at + 45);
  return place;
}

}  // namespace flor::index
