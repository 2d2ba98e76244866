// What did not change since it was stored: neither copied, nor hashed, nor stored again.
//
// Memory is cut into pieces of 1 MiB. A piece in which two checkpoints found the same is *quiet*.
// The next checkpoint copies a quiet piece in its call, whatever its contract, and tracks its pages
// from then on (write_tracker.h). When that one is durable and found the same again, the names of
// its chunks are *known*, for as long as the system says that nobody wrote there. So memory that
// always changes costs nothing here, and memory that never does costs one copy.
//
// Only private memory that no file is behind is tracked: others could change it unseen. Memory that
// was freed and mapped again is no longer tracked, pages that were given back are no longer there;
// both count as written. The bytes before the first and after the last whole page are compared by
// hash, and eight words inside by value.
//
// Thread-safety: all methods are safe for concurrent use. Invariant: a known piece was tracked
// before the content that its names name was read, in a call during which nobody wrote.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/hash.h"
#include "format/chunk_id.h"
#include "snapshot/capture.h"
#include "snapshot/live_memory.h"
#include "snapshot/private_memory.h"
#include "snapshot/write_tracker.h"

namespace flor {

class UnchangedMemory {
 public:
  // What a checkpoint captures, and what it will tell about. From begin() to end().
  struct Cut {
    std::vector<Region> runs;
    std::vector<std::size_t> regions;  // of which region each run is a part
    std::uint64_t known_bytes = 0;     // in no run
   private:
    friend class UnchangedMemory;
    struct Met {
      const std::byte* begin = nullptr;
      std::size_t bytes = 0, region = 0, first_chunk = 0;
    };
    std::uint64_t number = 0;
    std::vector<Met> met;
  };

  UnchangedMemory() = default;
  UnchangedMemory(const UnchangedMemory&) = delete;
  UnchangedMemory& operator=(const UnchangedMemory&) = delete;

  // During the call that captures. Writes the names of what is known into `names`, a reference a
  // region with room for all of its chunks; the rest is in the runs.
  Cut begin(std::span<const Region> regions, std::span<ContentRef> names);
  // The checkpoint is durable under these names; nullptr: it failed.
  void end(const Cut& cut, const std::vector<ContentRef>* names);

 private:
  enum class State { kSeen, kQuiet, kTracked, kKnown };
  struct Piece {
    std::size_t bytes = 0;
    State state = State::kSeen;
    std::uint64_t met = 0, tracked = 0;  // by which checkpoint, last
    Bytes pages;
    Hash128 head, tail;
    Sample sample{};
    std::vector<ChunkId> names;
  };

  void cut_region(std::size_t index, const Region& region, ContentRef& names, Cut& cut);
  // How a piece is to be captured; nullopt: it is known.
  std::optional<Contract> meet(Bytes live, Contract contract, std::size_t first_chunk,
                               std::size_t region, ContentRef& names, Cut& cut);
  bool track(Piece& piece, Bytes live);
  bool is_unchanged(const Piece& piece, Bytes live) const;
  void release(Piece& piece);
  void forget_unmet(std::uint64_t number);

  std::mutex mutex_;  // guards all below
  std::uint64_t number_ = 0;
  std::map<const std::byte*, Piece> pieces_;
  std::optional<PrivateMemory> private_;   // as it was in the current call; read when needed
  std::unique_ptr<WriteTracker> tracker_;  // made on first use
};

}  // namespace flor
