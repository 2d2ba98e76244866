// A copy of the undrained part of a ring, taken while its writer may be running.
//
// Thread-safety: a free function without state. It races with the writer on purpose: it copies
// first and then looks at the read position again, and forgets what may have been overwritten
// meanwhile (those records are in a segment).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/file.h"
#include "format/ring_header.h"

namespace flor {

struct RingCopy {
  std::string path;
  RingHeader header;
  std::uint64_t position = 0;  // of the first byte of `bytes`
  Buffer bytes;
};

// Nothing when the file is gone (its writer drained and removed it). Throws NewerFormat, Corrupt.
std::optional<RingCopy> copy_ring(FileSystem& files, const std::string& path);

}  // namespace flor
