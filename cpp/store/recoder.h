// Stores chunks anew as differences to the checkpoint before: the setting *small*
// (docs/decisions/0007-codecs.md).
//
// A running program gets differences to a key checkpoint: one decoding more. The difference to the
// neighbour is smaller, and takes a chain of decodings. Names are of content, so nothing that names
// a chunk changes.
//
// What is planned can be carried out in any order, wholly or in part: a chain of differences never
// gets longer than kLongestChain and never closes to a circle, whichever copies of its chunks are
// there. So a chunk that others are differences to is only ever moved nearer to its root, and a key
// stays as it is.
//
// Thread-safety: belongs to one thread. Errors: flor::Error.
#pragma once

#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "codec/delta.h"
#include "store/chunk_store.h"

namespace flor {

// Leaves one to a writer that makes a difference to the last.
inline constexpr int kLongestChain = kMaxDeltaDepth - 1;

class Recoder {
 public:
  // Looks at every chunk of the store.
  explicit Recoder(ChunkStore& store);

  // Plans differences between chunks at the same place. REQUIRES: both stay in the store. Older
  // pairs first.
  void pair(const ContentRef& ref, const ContentRef& neighbour);

  // Whether this copy is to be stored anew.
  bool wants(const ChunkPlace& place) const;
  // What to store instead. nullopt: it is not smaller, or can't be read; `even_larger`: take it all
  // the same. REQUIRES: wants(place).
  std::optional<Buffer> encode(const ChunkPlace& place, bool even_larger);
  // What a copy is a difference to; nullopt for none, or where that can't be read.
  std::optional<ChunkId> base_of(const ChunkPlace& place) const;

 private:
  struct IdHash {
    std::size_t operator()(const ChunkId& id) const noexcept {
      return static_cast<std::size_t>(id.hash.low) ^ id.salt;
    }
  };
  struct Plan {
    ChunkId base;
    int depth = 0;  // of the copies that there are, and of the new one
  };

  void pair_chunk(const ChunkId& id, const ChunkId& neighbour);
  // How many differences lie between a chunk and its roots at the most.
  int depth(const ChunkId& id, int left = kMaxDeltaDepth) const;
  bool reaches(const ChunkId& from, const ChunkId& wanted, int left = kMaxDeltaDepth) const;
  Buffer content(const ChunkId& id, std::uint32_t raw_bytes);

  ChunkStore& store_;
  std::unordered_map<ChunkId, Plan, IdHash> plans_;
  std::unordered_set<ChunkId, IdHash> bases_;
};

}  // namespace flor
