// Reads a log folder: segments and left-over rings of every writer in it, also while they are
// written.
//
// Consistent without a lock: the rings are copied first, the segments read after. A record that
// left its ring before the copy is in a segment by then (the drainer moves the read position after
// the write); one that leaves it between is seen twice and told apart by ring and sequence number.
// Nothing is written or repaired.
//
// Damage. A segment that ends inside a block was cut off while writing: that tail is left out (its
// records are still in the ring) and counted. The same for a tail of zeros, which a power loss
// leaves. Everything else that contradicts its checksum raises Corrupt with path, offset, expected
// and found - or, in tolerant mode, is left out and counted. A newer version raises NewerFormat in
// both modes.
//
// Order: by time, then writer, then ring; within a ring by sequence. Times in a ring never go back.
//
// Memory: all records, about 60 bytes each and as much again while they are merged, plus payloads.
//
// Thread-safety: free functions without state.
#pragma once

#include <memory>
#include <string>

#include "base/file.h"
#include "read/log_table.h"

namespace flor {

struct LogReadOptions {
  bool tolerant = false;
};

// A folder that is not there, or holds no log, is an empty table.
std::shared_ptr<const LogTable> read_log(FileSystem& files, const std::string& directory,
                                         LogReadOptions options = {});

}  // namespace flor
