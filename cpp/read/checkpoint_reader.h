// One checkpoint: its meta bytes and its regions, readable one by one and in part.
//
// Thread-safety: immutable after construction; safe for concurrent use, from several threads at
// once too. The store must outlive the reader; what `read` returns lives on its own.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "format/manifest_format.h"
#include "store/chunk_store.h"

namespace flor {

class CheckpointReader {
 public:
  // Bytes of a region, from `offset` on, and where they go.
  struct Wanted {
    std::size_t region;
    std::uint64_t offset;
    MutableBytes out;
  };

  // Reads and checks the manifest, not the chunks. Throws kNotFound, kCorrupt, kNewerFormat.
  CheckpointReader(std::shared_ptr<ChunkStore> store, std::string manifest_path);

  const std::string& path() const noexcept { return path_; }
  const ManifestTotals& totals() const noexcept { return manifest_.totals; }
  Bytes meta() const noexcept { return meta_; }
  std::size_t region_count() const noexcept { return manifest_.regions.size(); }
  // The name of a region's content, and its length. Throws kInvalid for an unknown region.
  const ContentRef& region(std::size_t index) const;

  // Long readings are done by a few threads at once, which end before the call does.
  // Bytes of a region: a view of the mapped pack where the chunks are raw and adjacent, else a
  // decoded copy. Every chunk touched is checked; damage throws kCorrupt with the place in the
  // pack. A chunk that no pack holds is kCorrupt too, naming this manifest.
  HeldBytes read(std::size_t index, std::uint64_t offset, std::uint64_t nbytes) const;
  void read_into(std::size_t index, std::uint64_t offset, MutableBytes out) const;
  // All of them at once: the way to read a whole checkpoint. After an error what they hold is
  // undefined.
  void read_into(std::span<const Wanted> wanted) const;
  bool is_zero_copy(std::size_t index) const { return store_->is_contiguous(region(index)); }

  // Re-reads every chunk and recomputes its name.
  std::vector<StoreProblem> verify() const;

 private:
  void read_piece(const Wanted& piece) const;

  const std::shared_ptr<ChunkStore> store_;
  const std::string path_;
  Manifest manifest_;
  Buffer meta_;
};

}  // namespace flor
