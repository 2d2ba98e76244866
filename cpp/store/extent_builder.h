// The chunks of one extent before they are written: which, in which order, and where their bytes
// are.
//
// Raw chunks are not copied: their source must hold still until the extent was written. Encoded
// chunks are owned. Lookups let a batch find content that it holds twice (tied weights, zeros).
//
// Thread-safety: belongs to one thread.
#pragma once

#include <map>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "format/pack_format.h"

namespace flor {

class ExtentBuilder {
 public:
  // A chunk whose stored bytes are `source` itself.
  void add_raw(const ChunkId& id, Bytes source);
  // A chunk whose stored bytes are `encoded`; `source` is what it decodes to.
  void add_encoded(const ChunkId& id, Bytes source, std::uint8_t codec, Buffer encoded);

  // A chunk as another pack stores it; find() does not know its content.
  void add_stored(const ChunkId& id, Bytes stored, std::uint8_t codec, std::uint32_t raw_bytes);

  // A chunk that is stored as a difference now; find() does not know its content.
  void add_difference(const ChunkId& id, Buffer encoded, std::uint32_t raw_bytes);

  // The decoded bytes of a chunk added since the last clear(); nullptr data when `id` is not among
  // them.
  struct Found {
    bool yes = false;
    Bytes source;
  };
  Found find(const ChunkId& id) const;

  bool empty() const noexcept { return entries_.empty(); }
  std::size_t raw_bytes() const noexcept { return raw_bytes_; }
  std::size_t owned_bytes() const noexcept { return owned_bytes_; }

  // Appends the extent to `file` as of pack `pack_id`; the entries then know their offsets.
  const std::vector<pack::ChunkEntry>& write(AppendFile& file, std::uint64_t pack_id);
  void clear();

 private:
  struct IdHash {
    std::size_t operator()(const ChunkId& id) const noexcept {
      return static_cast<std::size_t>(id.hash.low) ^ id.salt;
    }
  };
  void add(const ChunkId& id, Bytes source, Bytes stored, std::uint8_t codec,
           std::uint32_t raw_bytes);

  std::vector<pack::ChunkEntry> entries_;
  std::vector<Bytes> sources_, stored_;
  std::vector<Buffer> owned_;
  std::unordered_map<ChunkId, std::size_t, IdHash> by_id_;
  std::size_t raw_bytes_ = 0, owned_bytes_ = 0;
};

}  // namespace flor
