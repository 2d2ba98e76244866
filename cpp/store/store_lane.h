// A writer into a store with its own pack: cuts content into chunks, names them, leaves out what is
// there already, encodes what gains (codec/chain.h), appends the rest.
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
#include "codec/chain.h"
#include "store/chunk_store.h"
#include "store/extent_builder.h"
#include "store/pack_writer.h"

namespace flor {

// A run of bytes to store, and where the names of its chunks go: chunk_count(bytes.size()) of them.
// `bases` names as many chunks that the new ones may be like (those of an earlier checkpoint); a
// name that is unknown or of another length does no harm.
struct PutPiece {
  Bytes bytes;
  ChunkId* names = nullptr;
  const ChunkId* bases = nullptr;
  bool alike = false;  // to the piece before: encoded in the same way unless it comes out larger
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
  void put_chunk(Bytes chunk, ChunkId* name, const ChunkId* base);
  // Whether `chunk` is known under `id`, compared byte by byte; kOther when the name belongs to
  // other bytes.
  enum class Match { kUnknown, kSame, kOther };
  Match match(const ChunkId& id, Bytes chunk);
  Match match_place(const ChunkPlace& place, Bytes chunk);
  void add_new(const ChunkId& id, Bytes chunk, const ChunkId* base);
  // The chunk `id` when it is stored without a base of its own, so that differences never chain.
  DeltaBase find_base(const ChunkId& id, std::size_t bytes);
  void flush();
  void open_pack();

  ChunkStore& store_;
  std::mutex mutex_;  // guards all below
  ExtentBuilder extent_;
  std::unique_ptr<PackWriter> writer_;
  std::shared_ptr<PackFile> pack_;
  std::uint32_t pack_number_ = 0;
  PutCounts counts_;
  Chain chain_;
  Buffer scratch_, base_;
};

}  // namespace flor
