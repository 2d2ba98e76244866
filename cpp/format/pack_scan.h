// Finds the chunks of a pack, sealed or not, whole or damaged.
//
// What a scan promises: a chunk is reported only from a table that passes its checksum and whose
// payloads lie wholly inside the file. A torn tail (a write that never finished, or has not yet) is
// left out, not an error. Damage in the middle is told, and the extents behind it are still found.
//
// Thread-safety: free functions without state. No I/O.
#pragma once

#include "format/pack_format.h"

namespace flor::pack {

// Bytes that hold no readable structure although structure follows them.
struct Damage {
  std::uint64_t offset = 0;
  std::string problem;
};

struct Scan {
  std::vector<ChunkEntry> entries;
  std::vector<Damage> damages;
  // Where the next scan of the same, perhaps longer, file goes on.
  std::uint64_t end = 0;
  bool sealed = false;
};

// Everything from `from` (kHeaderBytes, or the `end` of an earlier scan) on. A sealed file is read
// by its directory when `from` is kHeaderBytes and the directory is whole; else extent by extent.
Scan scan_pack(Bytes file, std::uint64_t pack_id, std::uint64_t from = kHeaderBytes);

}  // namespace flor::pack
