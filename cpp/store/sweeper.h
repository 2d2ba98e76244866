// Gives back the bytes of chunks that nothing names any more, and sets damaged packs aside.
//
//   Sweeper sweeper(store);            // from now on nobody else relies on the packs it may touch
//   for (ref : everything that is named, read after this line) sweeper.mark(ref);
//   sweeper.pair(ref, neighbour);      // where wanted: in fewer bytes (store/recoder.h)
//   SweepResult told = sweeper.sweep(options, {});
//
// Packs that a living process writes or relies on are left alone (store/pack_lock.h), and so is
// every chunk that a chunk in them is a difference to. A pack without live chunks is removed. One
// that is mostly dead, or one of many small ones, is rewritten: its live chunks go, as they are
// stored, into a new pack, which is durable before the old one is removed. A crash at any step
// leaves every live chunk in a whole pack, and at worst a second copy for the next sweep.
//
// Thread-safety: belongs to one thread; the store may be used by others meanwhile. Errors:
// flor::Error; kInvalid while another sweep is at work, kIo where the file system has no locks.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "store/chunk_store.h"
#include "store/pack_writer.h"
#include "store/recoder.h"

namespace flor {

struct SweepOptions {
  // A pack is rewritten when at least this share of it is dead.
  double dead_share = 0.2;
  // Packs smaller than this are put together when there are at least `small_count` of them.
  std::uint64_t small_bytes = 16 << 20;
  std::size_t small_count = 8;
};

enum class PackFate { kKept, kInUse, kDamaged, kRewritten, kRemoved };

// One pack before the sweep, and what becomes of it.
struct PackUse {
  std::string path;
  std::uint64_t file_bytes = 0, live_bytes = 0;  // live_bytes: what its live chunks take in a pack
  std::uint64_t chunks = 0, live_chunks = 0;
  PackFate fate = PackFate::kKept;
};

struct SweepResult {
  std::vector<PackUse> packs;
  std::uint64_t freed_bytes = 0;  // of files; what the new packs take is taken off
  std::uint64_t lost_chunks = 0;  // marked, but in no pack
  std::uint64_t recoded_chunks = 0;
};

class Sweeper {
 public:
  // Takes the locks, then refreshes `store`, which is open for writing.
  explicit Sweeper(std::shared_ptr<ChunkStore> store);

  void mark(const ContentRef& ref);

  // The chunks of `ref` may be stored as differences to those of `neighbour`, which lie at the same
  // places. Older pairs first. Of contents that are not marked nothing is done. Bases that are free
  // then go with the next sweep.
  void pair(const ContentRef& ref, const ContentRef& neighbour);

  // What a sweep would do, without what pairs gain; changes nothing.
  SweepResult plan(const SweepOptions& options);
  SweepResult sweep(const SweepOptions& options, const Progress& progress);

  // For repair: moves each of these packs into `folder`, which is there, after all chunks of it
  // that can still be read were copied into a new pack. Returns those that a living process uses:
  // they stay.
  std::vector<std::string> set_aside(const std::vector<std::string>& paths,
                                     const std::string& folder);

 private:
  struct IdHash {
    std::size_t operator()(const ChunkId& id) const noexcept {
      return static_cast<std::size_t>(id.hash.low) ^ id.salt;
    }
  };
  struct Pack {
    std::shared_ptr<PackFile> file;
    bool ours = false;  // locked by this sweep
    bool damaged = false;
    std::vector<ChunkPlace> chunks{}, live{};  // by offset
  };

  void forget_removed();
  void lock_packs();
  void read_places();
  void mark_bases_in_use();
  void mark_base(const ChunkPlace& place, std::vector<ChunkId>& todo);
  void mark_bases(std::vector<ChunkId> todo);
  // Chooses, of every live chunk, the one copy that stays.
  std::uint64_t choose_copies();
  std::optional<ChunkPlace> choose_copy(const ChunkId& id);
  PackUse use_of(const Pack& pack) const;
  // What takes the place of live chunks, by their offset.
  using Recoded = std::unordered_map<std::uint64_t, Buffer>;
  bool may_recode(const Pack& pack, const PackUse& use) const;
  Recoded recode(const Pack& pack, PackUse& use);
  void copy_into_new(Pack& pack, const std::vector<ChunkPlace>& places, Recoded recoded = {});
  void finish_new();

  const std::shared_ptr<ChunkStore> store_;
  const std::unique_ptr<LockFile> locks_;
  std::vector<Pack> packs_;                            // by the store's numbers
  std::unordered_set<ChunkId, IdHash> live_, marked_;  // marked_: not for being a base
  std::unique_ptr<Recoder> recoder_;                   // once there are pairs

  std::unique_ptr<PackWriter> writer_;  // the new pack
  std::uint64_t written_bytes_ = 0;     // of finished new packs
  std::vector<std::uint32_t> settled_;  // packs whose live chunks are all in the new one
};

}  // namespace flor
