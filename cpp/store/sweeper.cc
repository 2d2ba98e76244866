#include "store/sweeper.h"

#include <algorithm>

#include "base/error.h"
#include "codec/codec.h"
#include "codec/delta.h"
#include "store/pack_lock.h"

namespace flor {
namespace {

// What a stored chunk takes in a pack: its bytes, padding, entry and place in the directory.
std::uint64_t footprint(const ChunkPlace& place) noexcept {
  return pack::align(place.stored_bytes) + pack::kEntryBytes + pack::kDirectoryEntryBytes;
}

}  // namespace

Sweeper::Sweeper(std::shared_ptr<ChunkStore> store)
    : store_(std::move(store)),
      locks_(store_->files().open_locks(join_path(store_->root(), kPackLocks))) {
  store_->check_writable();
  if (!locks_->try_lock(kSweepLock, LockFile::Mode::kExclusive))
    throw Error(ErrorKind::kInvalid,
                "another flor gc or flor fsck --repair is at work on this store; wait for it",
                store_->root());
  forget_removed();
  store_->refresh();
  lock_packs();
  // Again: what was stored until the locks were taken may be relied on.
  store_->refresh();
  read_places();
  mark_bases_in_use();
}

// What the store knows of packs that an earlier sweep removed: their mappings still read, and a
// copy in one must not be taken for the one that stays. Only a sweep removes packs, and this is the
// one at work.
void Sweeper::forget_removed() {
  std::vector<bool> removed;
  for (const std::string& path : store_->pack_paths())
    removed.push_back(!store_->files().exists(path));
  for (const ChunkPlace& place : store_->places())
    if (place.pack < removed.size() && removed[place.pack]) store_->supersede(place);
}

void Sweeper::lock_packs() {
  const std::shared_lock lock(store_->mutex_);
  for (const auto& file : store_->packs_) {
    Pack pack{file};
    pack.ours = !file->own() &&
                locks_->try_lock(lock_of_pack(file->id()), LockFile::Mode::kExclusive) &&
                store_->files().exists(file->path());
    packs_.push_back(std::move(pack));
  }
}

void Sweeper::read_places() {
  {
    const std::shared_lock lock(store_->mutex_);
    for (std::size_t i = packs_.size(); i < store_->packs_.size(); ++i)
      packs_.push_back({store_->packs_[i]});
    for (Pack& pack : packs_)
      pack.damaged = std::any_of(
          store_->problems_.begin(), store_->problems_.end(),
          [&](const StoreProblem& problem) { return problem.path == pack.file->path(); });
  }
  for (const ChunkPlace& place : store_->places()) packs_[place.pack].chunks.push_back(place);
  for (Pack& pack : packs_)
    std::sort(pack.chunks.begin(), pack.chunks.end(),
              [](const ChunkPlace& a, const ChunkPlace& b) { return a.offset < b.offset; });
}

// --- what is live
// ----------------------------------------------------------------------------------------------

void Sweeper::mark(const ContentRef& ref) {
  std::vector<ChunkId> fresh;
  for (const ChunkId& id : ref.chunks) {
    marked_.insert(id);
    if (live_.insert(id).second) fresh.push_back(id);
  }
  mark_bases(std::move(fresh));
}

void Sweeper::pair(const ContentRef& ref, const ContentRef& neighbour) {
  const auto is_marked = [&](const ChunkId& id) { return marked_.contains(id); };
  if (!std::ranges::all_of(ref.chunks, is_marked) ||
      !std::ranges::all_of(neighbour.chunks, is_marked))
    return;
  if (recoder_ == nullptr) recoder_ = std::make_unique<Recoder>(*store_);
  recoder_->pair(ref, neighbour);
}

void Sweeper::mark_base(const ChunkPlace& place, std::vector<ChunkId>& todo) {
  if (place.codec != static_cast<std::uint8_t>(Codec::kDelta)) return;
  try {
    const auto mapping = packs_[place.pack].file->covering(place.end());
    const ChunkId base = delta_base(mapping->bytes().subspan(place.offset, place.stored_bytes));
    if (live_.insert(base).second) todo.push_back(base);
  } catch (const Error&) {
    // Cut off: the chunk can't be read, so it needs no base.
  }
}

void Sweeper::mark_bases(std::vector<ChunkId> todo) {
  while (!todo.empty()) {
    const ChunkId id = todo.back();
    todo.pop_back();
    for (const ChunkPlace& place : store_->places_of(id))
      if (place.pack < packs_.size()) mark_base(place, todo);
  }
}

// A living process may name any chunk of a pack it relies on, at any time.
void Sweeper::mark_bases_in_use() {
  std::vector<ChunkId> todo;
  for (const Pack& pack : packs_)
    if (!pack.ours)
      for (const ChunkPlace& place : pack.chunks) mark_base(place, todo);
  mark_bases(std::move(todo));
}

std::optional<ChunkPlace> Sweeper::choose_copy(const ChunkId& id) {
  std::vector<ChunkPlace> places = store_->places_of(id);
  std::erase_if(places, [&](const ChunkPlace& place) { return place.pack >= packs_.size(); });
  if (places.empty()) return std::nullopt;
  std::stable_sort(places.begin(), places.end(), [&](const ChunkPlace& a, const ChunkPlace& b) {
    return packs_[a.pack].ours < packs_[b.pack].ours;
  });
  for (const ChunkPlace& place : places) try {
      if (places.size() > 1) store_->stored_bytes(place);
      return place;
    } catch (const Error&) {
      // Damaged: another copy is to stay.
    }
  return places.front();
}

std::uint64_t Sweeper::choose_copies() {
  std::uint64_t lost = 0;
  for (Pack& pack : packs_) pack.live.clear();
  for (const ChunkId& id : live_) {
    const auto place = choose_copy(id);
    if (place) packs_[place->pack].live.push_back(*place);
    lost += !place;
  }
  for (Pack& pack : packs_)
    std::sort(pack.live.begin(), pack.live.end(),
              [](const ChunkPlace& a, const ChunkPlace& b) { return a.offset < b.offset; });
  return lost;
}

// --- what becomes of the packs
// ----------------------------------------------------------------------------------------------

PackUse Sweeper::use_of(const Pack& pack) const {
  PackUse use;
  use.path = pack.file->path();
  use.chunks = pack.chunks.size();
  use.live_chunks = pack.live.size();
  for (const ChunkPlace& place : pack.live) use.live_bytes += footprint(place);
  try {
    use.file_bytes = store_->files().map(use.path)->bytes().size();
  } catch (const Error&) {
    // Gone: another process has tidied up its empty pack.
  }
  use.fate = !pack.ours ? PackFate::kInUse : pack.damaged ? PackFate::kDamaged : PackFate::kKept;
  return use;
}

SweepResult Sweeper::plan(const SweepOptions& options) {
  SweepResult result;
  result.lost_chunks = choose_copies();
  std::size_t small = 0;
  for (const Pack& pack : packs_) {
    PackUse use = use_of(pack);
    const auto live = static_cast<double>(use.live_bytes);
    if (use.fate == PackFate::kKept) {
      if (use.live_chunks == 0)
        use.fate = PackFate::kRemoved;
      else if (live <= (1 - options.dead_share) * static_cast<double>(use.file_bytes))
        use.fate = PackFate::kRewritten;
      else
        small += use.file_bytes < options.small_bytes;
    }
    result.packs.push_back(std::move(use));
  }
  for (PackUse& use : result.packs) {
    if (use.fate == PackFate::kKept && small >= options.small_count &&
        use.file_bytes < options.small_bytes)
      use.fate = PackFate::kRewritten;
    if (use.fate == PackFate::kRewritten || use.fate == PackFate::kRemoved)
      result.freed_bytes += use.file_bytes - std::min(use.file_bytes, use.live_bytes);
  }
  return result;
}

SweepResult Sweeper::sweep(const SweepOptions& options, const Progress& progress) {
  SweepResult result = plan(options);
  std::uint64_t done = 0, total = 0, gone = 0;
  for (std::uint32_t i = 0; i < packs_.size(); ++i)
    if (const PackUse& use = result.packs[i];
        use.fate == PackFate::kRewritten || may_recode(packs_[i], use))
      total += use.live_bytes;
  for (std::uint32_t i = 0; i < packs_.size(); ++i) {
    PackUse& use = result.packs[i];
    const bool counted = use.fate == PackFate::kRewritten || may_recode(packs_[i], use);
    if (counted) try {
        Recoded recoded = recode(packs_[i], use);
        result.recoded_chunks += recoded.size();
        if (use.fate == PackFate::kRewritten)
          copy_into_new(packs_[i], packs_[i].live, std::move(recoded));
        done += use.live_bytes;
        if (progress) progress(done, total);
      } catch (const Error& error) {
        if (error.kind() != ErrorKind::kCorrupt) throw;
        use.fate = PackFate::kDamaged;  // it stays as it is, for fsck
      }
    if (use.fate != PackFate::kRewritten && use.fate != PackFate::kRemoved) continue;
    settled_.push_back(i);
    gone += use.file_bytes;
    if (writer_ == nullptr || writer_->size() >= store_->options_.pack_bytes) finish_new();
  }
  finish_new();
  result.freed_bytes = gone - std::min(gone, written_bytes_);
  return result;
}

bool Sweeper::may_recode(const Pack& pack, const PackUse& use) const {
  return recoder_ != nullptr && (use.fate == PackFate::kKept || use.fate == PackFate::kRewritten) &&
         std::ranges::any_of(pack.live,
                             [&](const ChunkPlace& place) { return recoder_->wants(place); });
}

// Encodes what was paired; a pack that would stay is rewritten where that is worth it.
Sweeper::Recoded Sweeper::recode(const Pack& pack, PackUse& use) {
  constexpr double kWorthShare = 0.005;
  Recoded recoded;
  if (!may_recode(pack, use)) return recoded;
  std::uint64_t saved = 0;
  bool frees_bases = false;
  for (const ChunkPlace& place : pack.live) {
    if (!recoder_->wants(place)) continue;
    const auto base = recoder_->base_of(place);
    const bool frees = base && !marked_.contains(*base);
    auto found = recoder_->encode(place, frees);
    if (!found) continue;
    saved += place.stored_bytes - std::min<std::uint64_t>(found->size(), place.stored_bytes);
    frees_bases |= frees;
    recoded.emplace(place.offset, *std::move(found));
  }
  if (use.fate == PackFate::kRewritten) return recoded;
  const double worth = kWorthShare * static_cast<double>(use.file_bytes);
  if (!frees_bases && static_cast<double>(saved) < worth) return {};
  use.fate = PackFate::kRewritten;
  return recoded;
}

void Sweeper::copy_into_new(Pack& pack, const std::vector<ChunkPlace>& places, Recoded recoded) {
  constexpr std::size_t kExtentBytes = 16 << 20;
  if (places.empty()) return;
  // Before anything is written: what is damaged is found out while nothing depends on it.
  for (const ChunkPlace& place : places) store_->stored_bytes(place);
  if (writer_ == nullptr) {
    const std::uint64_t id = PackWriter::random_id();
    locks_->try_lock(lock_of_pack(id), LockFile::Mode::kShared);
    writer_ = std::make_unique<PackWriter>(store_->files(), store_->packs_folder_, id);
  }
  const auto mapping = pack.file->covering(0);
  ExtentBuilder extent;
  for (const ChunkPlace& place : places) {
    if (const auto found = recoded.find(place.offset); found != recoded.end())
      extent.add_difference(place.id, std::move(found->second), place.raw_bytes);
    else
      extent.add_stored(place.id, mapping->bytes().subspan(place.offset, place.stored_bytes),
                        place.codec, place.raw_bytes);
    if (extent.raw_bytes() < kExtentBytes) continue;
    writer_->append(extent);
    extent.clear();
  }
  if (!extent.empty()) writer_->append(extent);
}

// The new pack is durable, with its name, before an old one goes.
void Sweeper::finish_new() {
  FileSystem& files = store_->files();
  if (writer_ != nullptr) {
    writer_->seal();
    files.sync_dir(store_->packs_folder_);
    written_bytes_ += writer_->size();
    writer_.reset();
  }
  for (const std::uint32_t number : settled_) files.remove(packs_[number].file->path());
  if (!settled_.empty()) files.sync_dir(store_->packs_folder_);
  settled_.clear();
}

std::vector<std::string> Sweeper::set_aside(const std::vector<std::string>& paths,
                                            const std::string& folder) {
  std::vector<std::string> in_use;
  std::vector<std::string> moved;
  for (Pack& pack : packs_) {
    const std::string path = pack.file->path();
    if (std::find(paths.begin(), paths.end(), path) == paths.end()) continue;
    if (!pack.ours) {
      in_use.push_back(path);
      continue;
    }
    std::vector<ChunkPlace> whole;
    for (const ChunkPlace& place : pack.chunks) {
      std::vector<StoreProblem> problems;
      store_->verify_place(place, problems);
      if (problems.empty()) whole.push_back(place);
    }
    copy_into_new(pack, whole);
    moved.push_back(path);
  }
  finish_new();
  for (const std::string& path : moved)
    store_->files().rename(path, join_path(folder, path.substr(path.rfind('/') + 1)));
  if (!moved.empty()) {
    store_->files().sync_dir(folder);
    store_->files().sync_dir(store_->packs_folder_);
  }
  return in_use;
}

}  // namespace flor
