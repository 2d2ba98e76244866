#include "store/store_lane.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "codec/codec.h"

namespace flor {
namespace {

// Flushed when more than this of raw bytes waits at the end of a piece, or of encoded bytes at any
// time.
constexpr std::size_t kExtentRawBytes = 64 << 20, kExtentOwnedBytes = 16 << 20;
bool equal(Bytes a, Bytes b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

}  // namespace

PutCounts& PutCounts::operator+=(const PutCounts& other) noexcept {
  stored_bytes += other.stored_bytes;
  new_chunks += other.new_chunks;
  dedup_bytes += other.dedup_bytes;
  return *this;
}

StoreLane::StoreLane(ChunkStore& store) : store_(store) { store_.enroll(this); }
StoreLane::~StoreLane() { store_.leave(this); }

PutCounts StoreLane::put(std::span<const PutPiece> pieces) {
  store_.check_writable();
  const std::lock_guard lock(mutex_);
  store_.check_writable();  // again: close() may have gone by while this waited
  counts_ = {};
  try {
    for (const PutPiece& piece : pieces) {
      if (!piece.alike) chain_.begin_tensor();
      for (std::uint64_t i = 0, n = chunk_count(piece.bytes.size()); i < n; ++i)
        put_chunk(piece.bytes.subspan(i * kChunkBytes, chunk_length(piece.bytes.size(), i)),
                  piece.names + i, piece.bases == nullptr ? nullptr : piece.bases + i);
      store_.put_bytes_ += piece.bytes.size();
      if (extent_.raw_bytes() >= kExtentRawBytes) flush();
    }
    flush();
  } catch (...) {
    // What was appended and published stays: it is whole. What waits was never named by anyone.
    extent_.clear();
    writer_.reset();
    throw;
  }
  return counts_;
}

void StoreLane::put_chunk(Bytes chunk, ChunkId* name, const ChunkId* base) {
  for (int salt = 0; salt < 256; ++salt) {
    const auto salt_byte = static_cast<std::uint8_t>(salt);
    const ChunkId id{store_.options_.hash(chunk, salt_byte), salt_byte};
    const Match found = match(id, chunk);
    if (found == Match::kOther) continue;
    *name = id;
    if (found == Match::kUnknown) return add_new(id, chunk, base);
    counts_.dedup_bytes += chunk.size();
    store_.dedup_bytes_ += chunk.size();
    ++store_.dedup_hits_;
    return;
  }
  throw Error(ErrorKind::kInvalid,
              "256 different contents share one hash; this store's hash is broken");
}

StoreLane::Match StoreLane::match(const ChunkId& id, Bytes chunk) {
  if (const auto pending = extent_.find(id); pending.yes) {
    store_.compared_bytes_ += chunk.size();
    return equal(pending.source, chunk) ? Match::kSame : Match::kOther;
  }
  for (const ChunkPlace& place : store_.places_of(id)) {
    const Match found = match_place(place, chunk);
    if (found != Match::kUnknown) return found;
  }
  return Match::kUnknown;
}

StoreLane::Match StoreLane::match_place(const ChunkPlace& place, Bytes chunk) {
  const auto pack = store_.pack(place.pack);
  if (!store_.claim(*pack)) return Match::kUnknown;  // about to be removed: stored anew
  store_.compared_bytes_ += chunk.size();
  try {
    if (place.codec == 0 && place.stored_bytes == chunk.size()) {
      // The common case is one pass over both, without the checksum: equal bytes need no further
      // proof.
      const auto mapping = pack->covering(place.end());
      if (equal(mapping->bytes().subspan(place.offset, place.stored_bytes), chunk)) {
        pack->need(place.end());
        return Match::kSame;
      }
    }
    const HeldBytes stored = store_.stored_bytes(place);  // throws when damaged
    scratch_.resize(place.raw_bytes);
    store_.decode_place(place, stored.bytes, scratch_, 0);
    if (!equal(scratch_, chunk)) return Match::kOther;
    pack->need(place.end());
    return Match::kSame;
  } catch (const Error&) {
    // Damaged or gone: as if it were not there, and not asked again. A fresh copy takes its place.
    store_.supersede(place);
    return Match::kUnknown;
  }
}

void StoreLane::add_new(const ChunkId& id, Bytes chunk, const ChunkId* base) {
  ++counts_.new_chunks;
  const auto find = [&] { return base == nullptr ? DeltaBase{} : find_base(*base, chunk.size()); };
  const Codec codec = chain_.encode(chunk, find, scratch_);
  if (codec == Codec::kNone) return extent_.add_raw(id, chunk);
  extent_.add_encoded(id, chunk, static_cast<std::uint8_t>(codec), scratch_);
  if (extent_.owned_bytes() >= kExtentOwnedBytes) flush();
}

DeltaBase StoreLane::find_base(const ChunkId& id, std::size_t bytes) {
  for (const ChunkPlace& place : store_.places_of(id)) try {
      if (place.codec == static_cast<std::uint8_t>(Codec::kDelta) || place.raw_bytes != bytes)
        continue;
      const auto pack = store_.pack(place.pack);
      if (!store_.claim(*pack)) continue;
      base_.resize(bytes);
      store_.read_place(place, base_, 0);
      pack->need(place.end());  // durable before what depends on it
      return {id, base_};
    } catch (const Error&) {
      store_.supersede(place);  // as match_place does
    }
  return {};
}

void StoreLane::open_pack() {
  const std::uint64_t id = PackWriter::random_id();
  const std::string path = join_path(store_.packs_folder_, pack::file_name(id));
  // Registered before it exists: a refresh that sees the file must know it as ours.
  pack_ = std::make_shared<PackFile>(store_.files(), path, id, true);
  pack_number_ = store_.add_pack(pack_);
  store_.claim(*pack_);  // before it exists, too
  writer_ = std::make_unique<PackWriter>(store_.files(), store_.packs_folder_, id);
}

void StoreLane::flush() {
  if (extent_.empty()) return;
  if (writer_ != nullptr && pack_->failed) writer_.reset();
  if (writer_ == nullptr) open_pack();
  const std::uint64_t before = writer_->size();
  store_.publish(pack_number_, writer_->append(extent_));
  counts_.stored_bytes += writer_->size() - before;
  extent_.clear();
  if (writer_->size() >= store_.options_.pack_bytes) store_.retire(std::move(writer_));
}

void StoreLane::seal() {
  const std::lock_guard lock(mutex_);
  if (writer_ == nullptr) return;
  const auto writer = std::move(writer_);
  writer->seal();
}

}  // namespace flor
