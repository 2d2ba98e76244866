// Checkpoints of memory: captured at an instant, stored while the caller goes on.
//
//   Snapshotter snapshotter(store, {.staging_bytes = 1 << 30});
//   auto pending = snapshotter.take(regions, "runs/R/checkpoints/7.ckpt", meta);
//   pending->wait({});                       // durable, or throws
//
// In the background: chunk, name, leave out what is known, compress, append; make the packs
// durable; write the manifest in one atomic step. The manifest is the commit record: it is there
// when, and only when, everything it names is durable.
//
// Thread-safety: all methods are safe for concurrent use; takes take turns. Invariants:
//   1. Nothing of an eager region is read after take() returned; of the others what their contract
//      allows (capture.h).
//   2. A manifest is written after the sync of all packs that hold its chunks, or not at all.
//   3. No background thread ever takes the GIL or runs a signal handler.
//
// A failed checkpoint stops nothing: its Pending and `error()` tell it, later ones are tried
// afresh. In a forked child take() throws kClosed, everything else does nothing; destruction leaks
// rather than waiting for threads that are not there.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "snapshot/live_capture.h"
#include "snapshot/pending.h"
#include "snapshot/unchanged_memory.h"
#include "store/chunk_store.h"

namespace flor {

struct SnapshotterOptions {
  // Copies wait for the disk in at most this much memory, kept for the next ones. Less than a
  // state: the state goes through in slices while take() waits.
  std::size_t staging_bytes = std::size_t{1} << 30;
  // Background threads; each writes its own pack.
  std::size_t threads = 1;
  // Every so many checkpoints one is stored without differences; those between are stored as
  // differences to it where that gains, so reading one touches at most one other. 1: no
  // differences.
  std::size_t key_interval = 8;
};

struct SnapshotterStats {
  std::uint64_t taken = 0;               // calls of take() that returned
  std::uint64_t in_flight = 0;           // of those, not done
  std::uint64_t waits = 0, wait_ns = 0;  // how often and how long take() waited for staging memory
  std::uint64_t staged_bytes = 0, arena_bytes = 0;  // staging memory in use, and mapped
  std::uint64_t unchanged_bytes = 0;  // known to be stored already: neither copied nor hashed
  LiveStats live;
};

class Snapshotter {
 public:
  Snapshotter(std::shared_ptr<ChunkStore> store, SnapshotterOptions options);
  ~Snapshotter();  // close()
  Snapshotter(const Snapshotter&) = delete;
  Snapshotter& operator=(const Snapshotter&) = delete;

  // Captures `regions` and returns. `meta` is kept in the manifest and given back by a
  // CheckpointReader.
  std::shared_ptr<Pending> take(std::span<const Region> regions, const std::string& manifest_path,
                                Bytes meta);

  // What was captured cooperatively may be written once this has returned. Cheap when nothing is in
  // flight, and in a forked child nothing.
  void settle();

  // Maps and touches staging memory for `bytes` (within the budget) in the background, so that the
  // first take finds it warm: cold memory is several times slower to fill.
  void warm_up(std::size_t bytes);
  // The first failure in the background but for refusals, if any; never cleared.
  std::optional<std::string> error() const;
  SnapshotterStats stats() const;
  // Waits until nothing is in flight. Throws nothing: see error().
  void drain();
  // drain(), then ends the threads and seals their packs. Idempotent.
  void close();

 private:
  class Sink;
  struct Shared;

  void run(Pending& pending, std::unique_ptr<StagedPart> part, std::size_t worker);
  void store_part(Pending& pending, StagedPart& part, std::size_t worker);
  void commit(Pending& pending);
  void finish(Pending& pending);
  void submit(const std::shared_ptr<Pending>& pending, std::unique_ptr<StagedPart> part);

  const std::shared_ptr<ChunkStore> store_;
  const SnapshotterOptions options_;
  const pid_t process_;
  std::unique_ptr<Shared> shared_;  // never null; leaked in a forked child
};

}  // namespace flor
