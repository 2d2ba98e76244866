#include "store/chunk_store.h"

#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "store/pack_lock.h"
#include "store/store_lane.h"

namespace flor {

Hash128 content_hash(Bytes bytes, std::uint8_t salt) noexcept { return hash128(bytes, salt); }

ChunkStore::ChunkStore(std::string root, ChunkStoreOptions options)
    : root_(std::move(root)),
      packs_folder_(join_path(root_, "packs")),
      options_(options),
      process_(::getpid()) {
  if (!files().exists(root_))
    throw Error(ErrorKind::kNotAStore,
                "there is no store here; flor makes one when it first records a run", root_);
  if (options_.use_index) load_index();
  refresh_packs(true);
  foreground_ = std::make_unique<StoreLane>(*this);
}

ChunkStore::~ChunkStore() {
  if (::getpid() == process_) try {
      close();
    } catch (const Error&) {
      // close() is how to hear of it; packs left unsealed are read by scanning.
    }
}

void ChunkStore::check_usable() const {
  if (::getpid() != process_)
    throw Error(ErrorKind::kClosed, "a store can't be used in a forked child; open it again there",
                root_);
  if (closed_) throw Error(ErrorKind::kClosed, "the store is closed", root_);
}

void ChunkStore::check_writable() const {
  check_usable();
  if (options_.readonly)
    throw Error(ErrorKind::kReadOnly, "the store was opened read-only; open it for writing", root_);
}

ContentRef ChunkStore::put(Bytes bytes) {
  ContentRef ref;
  put({&bytes, 1}, {&ref, 1});
  return ref;
}

std::uint64_t ChunkStore::put(std::span<const Bytes> contents, std::span<ContentRef> refs) {
  check_writable();
  std::vector<PutPiece> pieces;
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const Bytes bytes = contents[i];
    refs[i] = {bytes.size(), std::vector<ChunkId>(chunk_count(bytes.size()))};
    pieces.push_back({bytes, refs[i].chunks.data(), nullptr, i != 0});
  }
  return foreground_->put(pieces).stored_bytes;
}

// --- packs
// ----------------------------------------------------------------------------------------------

std::shared_ptr<PackFile> ChunkStore::pack(std::uint32_t number) {
  const std::shared_lock lock(mutex_);
  return packs_.at(number);
}

std::uint32_t ChunkStore::add_pack(std::shared_ptr<PackFile> pack) {
  const std::unique_lock lock(mutex_);
  const auto number = static_cast<std::uint32_t>(packs_.size());
  by_name_.emplace(pack::file_name(pack->id()), number);
  packs_.push_back(std::move(pack));
  return number;
}

void ChunkStore::scan_into_index(std::uint32_t number, bool opening) {
  const auto file = pack(number);
  pack::Scan scan;
  try {
    scan = file->scan_more();
  } catch (const Error& error) {
    // While opening, a pack that can't be read must be told; later, work goes on without it.
    if (opening && error.kind() != ErrorKind::kNotFound) throw;
    return;
  }
  if (scan.entries.empty() && scan.damages.empty()) return;
  const std::unique_lock lock(mutex_);
  for (const pack::ChunkEntry& entry : scan.entries)
    index_.insert({entry.id, entry.checksum, entry.offset, number, entry.stored_bytes,
                   entry.raw_bytes, entry.codec, false});
  for (const pack::Damage& damage : scan.damages)
    problems_.push_back({file->path(), damage.offset, "", damage.problem});
}

void ChunkStore::refresh_packs(bool opening) {
  const std::lock_guard refreshing(refresh_mutex_);
  for (const std::string& name : files().list(packs_folder_)) {
    const auto id = pack::id_of_file(name);
    if (!id) continue;
    std::uint32_t number = 0;
    bool known = false;
    {
      const std::shared_lock lock(mutex_);
      const auto it = by_name_.find(name);
      if ((known = it != by_name_.end())) {
        number = it->second;
        if (packs_[number]->own() || packs_[number]->finished()) continue;
      }
    }
    if (!known)
      number =
          add_pack(std::make_shared<PackFile>(files(), join_path(packs_folder_, name), *id, false));
    scan_into_index(number, opening);
  }
}

void ChunkStore::refresh() {
  check_usable();
  refresh_packs(false);
}

std::uint64_t ChunkStore::begin_batch() {
  refresh();
  return epoch_;
}

// --- durability
// -----------------------------------------------------------------------------------------

void ChunkStore::sync_pack(std::uint32_t number, PackFile& pack) {
  const std::uint64_t needed = pack.needed_end;
  try {
    files().sync_file(pack.path());
    pack.synced_end = std::max<std::uint64_t>(pack.synced_end, needed);
  } catch (const Error&) {
    // After a failed fdatasync the system may have dropped the pages: what is behind synced_end
    // can't be relied on, now or after a retry. It is forgotten, and this pack gets no more.
    const std::unique_lock lock(mutex_);
    pack.failed = true;
    index_.forget(number, pack.synced_end);
    ++epoch_;
    throw;
  }
}

void ChunkStore::sync(std::uint64_t epoch) {
  check_usable();
  const std::lock_guard syncing(sync_mutex_);
  std::vector<std::shared_ptr<PackFile>> packs;
  {
    const std::shared_lock lock(mutex_);
    packs = packs_;
  }
  bool names = false;
  for (std::uint32_t i = 0; i < packs.size(); ++i) {
    PackFile& pack = *packs[i];
    if (pack.failed || pack.needed_end == 0) continue;
    if (pack.needed_end > pack.synced_end) sync_pack(i, pack);
    names = names || !pack.name_synced;
  }
  if (names) {
    files().sync_dir(packs_folder_);
    for (const auto& pack : packs)
      if (pack->needed_end != 0) pack->name_synced = true;
  }
  if (epoch_ != epoch)
    throw Error(ErrorKind::kIo, "chunks stored before could not be made durable", packs_folder_);
  seal_retired();
}

void ChunkStore::sync() { sync(told_epoch_.exchange(epoch_)); }

void ChunkStore::seal_retired() {
  std::vector<std::unique_ptr<PackWriter>> full;
  {
    const std::lock_guard lock(lanes_mutex_);
    full.swap(retired_);
  }
  for (const auto& writer : full) writer->seal();
}

void ChunkStore::close() {
  if (::getpid() != process_ || closed_.exchange(true)) return;
  std::vector<StoreLane*> lanes;
  {
    const std::lock_guard lock(lanes_mutex_);
    lanes = lanes_;
  }
  std::exception_ptr first;
  const auto keep_first = [&first](const auto& step) {
    try {
      step();
    } catch (const Error&) {
      if (!first) first = std::current_exception();
    }
  };
  // Sealing syncs, so there is no sync() here.
  for (StoreLane* lane : lanes) keep_first([lane] { lane->seal(); });
  keep_first([this] { seal_retired(); });
  if (!lanes.empty() && files().exists(packs_folder_) && !options_.readonly)
    keep_first([this] { files().sync_dir(packs_folder_); });
  if (!first && !lanes.empty() && !options_.readonly && options_.use_index) index_at_close();
  const std::lock_guard lock(claims_mutex_);
  locks_.reset();
  if (first) std::rethrow_exception(first);
}

// --- claims
// ---------------------------------------------------------------------------------------------

bool ChunkStore::claim(PackFile& pack) {
  if (pack.claimed) return true;
  const std::lock_guard lock(claims_mutex_);
  if (pack.claimed) return true;
  try {
    if (locks_ == nullptr) locks_ = files().open_locks(join_path(root_, kPackLocks));
    if (!locks_->try_lock(lock_of_pack(pack.id()), LockFile::Mode::kShared)) return false;
  } catch (const Error&) {
    // A file system without locks: there nobody can remove packs either (store/sweeper.h).
    return pack.claimed = true;
  }
  // Whoever removes a pack does it under the other lock: now it is there for good, or gone.
  if (!pack.own() && !files().exists(pack.path())) {
    locks_->unlock(lock_of_pack(pack.id()));
    return false;
  }
  return pack.claimed = true;
}

// --- lanes
// ----------------------------------------------------------------------------------------------

void ChunkStore::enroll(StoreLane* lane) {
  const std::lock_guard lock(lanes_mutex_);
  lanes_.push_back(lane);
}

void ChunkStore::leave(StoreLane* lane) noexcept {
  if (::getpid() != process_) return;  // another thread of the parent may have held the lock
  const std::lock_guard lock(lanes_mutex_);
  std::erase(lanes_, lane);
}

void ChunkStore::publish(std::uint32_t number, const std::vector<pack::ChunkEntry>& entries) {
  const std::unique_lock lock(mutex_);
  PackFile& pack = *packs_[number];
  if (pack.failed) throw Error(ErrorKind::kIo, "the pack could not be made durable", pack.path());
  for (const pack::ChunkEntry& entry : entries) {
    index_.insert({entry.id, entry.checksum, entry.offset, number, entry.stored_bytes,
                   entry.raw_bytes, entry.codec, false});
    pack.need(entry.offset + entry.stored_bytes);
  }
}

void ChunkStore::retire(std::unique_ptr<PackWriter> writer) {
  const std::lock_guard lock(lanes_mutex_);
  retired_.push_back(std::move(writer));
}

void ChunkStore::supersede(const ChunkPlace& damaged) {
  const std::unique_lock lock(mutex_);
  index_.forget_one(damaged.id, damaged.pack, damaged.offset);
}

std::vector<ChunkPlace> ChunkStore::places() {
  const std::shared_lock lock(mutex_);
  return index_.places();
}

std::vector<std::string> ChunkStore::pack_paths() {
  const std::shared_lock lock(mutex_);
  std::vector<std::string> paths;
  for (const auto& pack : packs_) paths.push_back(pack->path());
  return paths;
}

StoreStats ChunkStore::stats() {
  const std::shared_lock lock(mutex_);
  StoreStats stats;
  stats.chunks = index_.size();
  stats.packs = packs_.size();
  stats.raw_bytes = index_.raw_bytes();
  stats.stored_bytes = index_.stored_bytes();
  stats.put_bytes = put_bytes_;
  stats.dedup_bytes = dedup_bytes_;
  stats.dedup_hits = dedup_hits_;
  stats.compared_bytes = compared_bytes_;
  return stats;
}

}  // namespace flor
