// A writer into a store with its own pack: cuts content into chunks, names them, leaves out what is
// there already, compresses what gains, appends the rest.
//
// A store has one lane for put() and a snapshotter opens one per worker, so that a put from the
// training thread never waits behind a checkpoint.
//
// Thread-safety: `put` may be called by any thread; calls take turns. The store must outlive the
// lane.
#pragma once

#include <memory>
#include <mutex>
#include <span>

#include "base/bytes.h"
#include "store/chunk_store.h"
#include "store/extent_builder.h"
#include "store/pack_writer.h"

namespace flor {

// A run of bytes to store, and where the names of its chunks go: chunk_count(bytes.size()) of them.
struct PutPiece {
  Bytes bytes;
  ChunkId* names = nullptr;
};

struct PutCounts {
  std::uint64_t stored_bytes = 0;  // added to packs, tables and padding included
  std::uint64_t new_chunks = 0;
  std::uint64_t dedup_bytes = 0;  // raw bytes that needed no storing
  PutCounts& operator+=(const PutCounts& other) noexcept;
};

class StoreLane {
 public:
  explicit StoreLane(ChunkStore& store);
  ~StoreLane();
  StoreLane(const StoreLane&) = delete;
  StoreLane& operator=(const StoreLane&) = delete;

  // Stores all pieces; their memory must hold still until it returns. The chunks of a piece that
  // are new and stored raw lie one behind the other in the pack. When it throws, none of the names
  // may be used.
  PutCounts put(std::span<const PutPiece> pieces);

  // Seals the current pack. The next put begins another.
  void seal();

 private:
  void put_chunk(Bytes chunk, ChunkId* name);
  // Whether `chunk` is known under `id`, compared byte by byte; kOther when the name belongs to
  // other bytes.
  enum class Match { kUnknown, kSame, kOther };
  Match match(const ChunkId& id, Bytes chunk);
  Match match_place(const ChunkPlace& place, Bytes chunk);
  void add_new(const ChunkId& id, Bytes chunk);
  void flush();
  void open_pack();

  ChunkStore& store_;
  std::mutex mutex_;  // guards all below
  ExtentBuilder extent_;
  std::unique_ptr<PackWriter> writer_;
  std::shared_ptr<PackFile> pack_;
  std::uint32_t pack_number_ = 0;
  PutCounts counts_;
  Buffer scratch_;
};

}  // namespace flor
