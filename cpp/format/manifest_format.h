// Bytes of a checkpoint manifest, `N.ckpt`: which regions it has and which chunks they are made of.
//
//   manifest = header meta regions
//
// The manifest is the commit record of a checkpoint: it is written last, in one atomic step, after
// all its chunks are durable. docs/format_store.md has the grammar. Little-endian.
//
// Thread-safety: free functions without state. No I/O.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "format/chunk_id.h"

namespace flor {

inline constexpr std::string_view kManifestMagic = "FLORCKPT";
inline constexpr std::uint32_t kManifestVersion = 1;
inline constexpr std::size_t kManifestHeaderBytes = 128;

struct ManifestTotals {
  std::uint64_t raw_bytes = 0;     // sum of the regions
  std::uint64_t stored_bytes = 0;  // what this checkpoint added to packs
  std::uint64_t new_chunks = 0;
  std::uint64_t dedup_bytes = 0;  // raw bytes that were in the store already
  std::int64_t time_unix_ns = 0;  // when the snapshot was taken
};

struct Manifest {
  ManifestTotals totals;
  Buffer meta;  // the caller's, opaque; as stored (see meta_codec)
  std::uint8_t meta_codec = 0;
  std::uint64_t meta_raw_bytes = 0;
  std::vector<ContentRef> regions;
};

Buffer encode_manifest(const Manifest& manifest);

// Throws kNewerFormat for a later version; kCorrupt, with `path` and offset, for a cut or changed
// file.
Manifest decode_manifest(Bytes file, const std::string& path);

}  // namespace flor
