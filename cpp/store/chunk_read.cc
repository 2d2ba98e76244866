// The reading half of ChunkStore.
#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "codec/codec.h"
#include "codec/delta.h"
#include "codec/planes.h"
#include "store/chunk_store.h"

namespace flor {
namespace {

void check_range(const ContentRef& ref, std::uint64_t offset, std::uint64_t nbytes) {
  if (offset <= ref.nbytes && nbytes <= ref.nbytes - offset) return;
  throw Error(ErrorKind::kInvalid,
              "bytes " + std::to_string(offset) + " to " + std::to_string(offset + nbytes) +
                  " do not lie inside a content of " + std::to_string(ref.nbytes));
}

}  // namespace

std::vector<ChunkPlace> ChunkStore::places_of(const ChunkId& id) {
  std::vector<ChunkPlace> places;
  const std::shared_lock lock(mutex_);
  index_.find(id, [&](const ChunkPlace& place) {
    places.push_back(place);
    return false;
  });
  return places;
}

std::vector<ChunkPlace> ChunkStore::places_or_refresh(const ChunkId& id) {
  std::vector<ChunkPlace> places = places_of(id);
  if (!places.empty()) return places;
  refresh();
  return places_of(id);
}

HeldBytes ChunkStore::mapped_bytes(const ChunkPlace& place) {
  auto mapping = pack(place.pack)->covering(place.end());
  return {mapping->bytes().subspan(place.offset, place.stored_bytes), std::move(mapping)};
}

HeldBytes ChunkStore::stored_bytes(const ChunkPlace& place) {
  HeldBytes held = mapped_bytes(place);
  const std::uint64_t found = checksum64(held.bytes);
  if (found != place.checksum)
    throw Error(ErrorKind::kCorrupt, "chunk " + to_text(place.id) + " fails its checksum",
                pack(place.pack)->path(), static_cast<std::int64_t>(place.offset),
                to_hex({place.checksum, 0}).substr(16), to_hex({found, 0}).substr(16));
  return held;
}

void ChunkStore::decode_place(const ChunkPlace& place, Bytes stored, MutableBytes out, int depth,
                              Proof proof) {
  if (place.codec != static_cast<std::uint8_t>(Codec::kDelta))
    return decode(static_cast<Codec>(place.codec), stored, out);
  if (depth >= kMaxDeltaDepth)
    throw Error(ErrorKind::kCorrupt, "its chain of differences is too long", {}, Error::kNoOffset,
                std::to_string(kMaxDeltaDepth) + " or fewer", "more");
  const ChunkId base_id = delta_base(stored);
  // Not value-initialized: it is filled at once.
  const std::unique_ptr<std::byte[]> memory(new std::byte[out.size()]);
  const MutableBytes base{memory.get(), out.size()};
  try {
    read_chunk(base_id, place.raw_bytes, 0, base, depth + 1, proof);
  } catch (const Error& error) {
    throw Error(ErrorKind::kCorrupt, "it is a difference to " + to_text(base_id) +
                                         ", which can't be read: " + error.message());
  }
  decode_planes(delta_body(stored), base, out);
}

void ChunkStore::read_place(const ChunkPlace& place, MutableBytes out, int depth, Proof proof) {
  // Raw bytes have no other proof, where they are not a base.
  const bool named = proof == Proof::kName && (place.codec != 0 || depth > 0);
  const HeldBytes stored = named ? mapped_bytes(place) : stored_bytes(place);
  try {
    decode_place(place, stored.bytes, out, depth, proof);
    // Raw bytes were proved by their checksum; a base is proved with what is a difference to it.
    if (place.codec == 0 || depth > 0) return;
    if (const Hash128 found = options_.hash(out, place.id.salt); found != place.id.hash)
      throw Error(ErrorKind::kCorrupt, "it decodes to other content", {}, Error::kNoOffset,
                  to_hex(place.id.hash), to_hex(found));
  } catch (const Error& error) {
    throw Error(error.kind(), "chunk " + to_text(place.id) + ": " + error.message(),
                pack(place.pack)->path(), static_cast<std::int64_t>(place.offset), error.expected(),
                error.found());
  }
}

void ChunkStore::read_chunk(const ChunkId& id, std::uint32_t raw_bytes, std::uint32_t from,
                            MutableBytes out, int depth, Proof proof) {
  with_place(id, [&](const ChunkPlace& place) {
    if (place.raw_bytes != raw_bytes)
      throw Error(ErrorKind::kCorrupt,
                  "chunk " + to_text(id) + " has another length than its user says",
                  pack(place.pack)->path(), static_cast<std::int64_t>(place.offset),
                  std::to_string(raw_bytes), std::to_string(place.raw_bytes));
    if (out.size() == raw_bytes) return read_place(place, out, depth, proof);
    if (place.codec == 0 && place.stored_bytes == raw_bytes) {
      const HeldBytes stored = stored_bytes(place);
      std::memcpy(out.data(), stored.bytes.data() + from, out.size());
      return;
    }
    Buffer whole(raw_bytes);
    read_place(place, whole, depth, proof);
    std::memcpy(out.data(), whole.data() + from, out.size());
  });
}

void ChunkStore::with_place(const ChunkId& id, const std::function<void(const ChunkPlace&)>& use) {
  std::exception_ptr failure;
  for (bool moved = true; moved;) {
    moved = false;
    for (const ChunkPlace& place : places_or_refresh(id)) try {
        return use(place);
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::kNotFound) {
          supersede(place);  // its pack was removed: the chunk is in another by now
          moved = true;
        } else if (!failure) {
          failure = std::current_exception();  // another copy may be whole
        }
      }
  }
  if (failure) std::rethrow_exception(failure);
  throw Error(ErrorKind::kLost, "no pack of this store holds chunk " + to_text(id), packs_folder_);
}

void ChunkStore::read_proved(const ChunkId& id, std::uint32_t raw_bytes, std::uint32_t from,
                             MutableBytes out) {
  try {
    return read_chunk(id, raw_bytes, from, out, 0, Proof::kName);
  } catch (const Error&) {  // told below, by checksums: which bytes of which file
  }
  read_chunk(id, raw_bytes, from, out);
}

void ChunkStore::read(const ContentRef& ref, std::uint64_t offset, MutableBytes out) {
  check_usable();
  check_range(ref, offset, out.size());
  while (!out.empty()) {
    const std::uint64_t index = offset / kChunkBytes;
    const auto from = static_cast<std::uint32_t>(offset % kChunkBytes);
    const std::uint32_t raw_bytes = chunk_length(ref.nbytes, index);
    const std::size_t count = std::min<std::size_t>(raw_bytes - from, out.size());
    read_proved(ref.chunks[index], raw_bytes, from, out.first(count));
    offset += count;
    out = out.subspan(count);
  }
}

std::optional<ChunkId> ChunkStore::base_of(const ChunkId& id) {
  check_usable();
  const std::vector<ChunkPlace> places = places_or_refresh(id);
  if (places.empty())
    throw Error(ErrorKind::kLost, "no pack of this store holds chunk " + to_text(id),
                packs_folder_);
  for (const ChunkPlace& place : places)
    if (place.codec != static_cast<std::uint8_t>(Codec::kDelta)) return std::nullopt;
  return delta_base(stored_bytes(places.front()).bytes);
}

Buffer ChunkStore::get(const ContentRef& ref) {
  check_usable();
  // Before the allocation: a made-up length must not take the memory.
  for (const ChunkId& id : ref.chunks)
    if (places_or_refresh(id).empty())
      throw Error(ErrorKind::kLost, "no pack of this store holds chunk " + to_text(id),
                  packs_folder_);
  Buffer out(ref.nbytes);
  read(ref, 0, out);
  return out;
}

bool ChunkStore::contains(const ContentRef& ref) {
  check_usable();
  return std::all_of(ref.chunks.begin(), ref.chunks.end(),
                     [this](const ChunkId& id) { return !places_or_refresh(id).empty(); });
}

std::optional<std::vector<ChunkPlace>> ChunkStore::contiguous_places(const ContentRef& ref,
                                                                     std::uint64_t first,
                                                                     std::uint64_t last) {
  std::vector<ChunkPlace> run;
  for (std::uint64_t i = first; i < last; ++i) {
    const std::vector<ChunkPlace> places = places_or_refresh(ref.chunks[i]);
    const auto next = std::find_if(places.begin(), places.end(), [&](const ChunkPlace& place) {
      if (place.codec != 0 || place.stored_bytes != chunk_length(ref.nbytes, i)) return false;
      return run.empty() || (place.pack == run.back().pack && place.offset == run.back().end());
    });
    if (next == places.end()) return std::nullopt;
    run.push_back(*next);
  }
  return run;
}

bool ChunkStore::is_contiguous(const ContentRef& ref) {
  check_usable();
  return contiguous_places(ref, 0, ref.chunks.size()).has_value();
}

std::optional<HeldBytes> ChunkStore::view(const ContentRef& ref, std::uint64_t offset,
                                          std::uint64_t nbytes) {
  check_usable();
  check_range(ref, offset, nbytes);
  if (nbytes == 0) return HeldBytes{};
  const std::uint64_t first = offset / kChunkBytes, last = (offset + nbytes - 1) / kChunkBytes + 1;
  const auto run = contiguous_places(ref, first, last);
  if (!run) return std::nullopt;
  std::shared_ptr<MappedFile> mapping;
  try {
    mapping = pack(run->front().pack)->covering(run->back().end());
  } catch (const Error&) {
    return std::nullopt;  // cut or removed: the copying path finds another copy, or says what it is
  }
  for (const ChunkPlace& place : *run)
    if (checksum64(mapping->bytes().subspan(place.offset, place.stored_bytes)) != place.checksum)
      return std::nullopt;  // the copying path tries other copies, or says what is damaged
  const std::uint64_t begin = run->front().offset + (offset - first * kChunkBytes);
  return HeldBytes{mapping->bytes().subspan(begin, nbytes), mapping};
}

}  // namespace flor
