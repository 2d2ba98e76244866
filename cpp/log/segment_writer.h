// Appends blocks to the segments of one writer, and starts a new segment when one is full.
//
// After a failed append the torn tail is cut off; where even that fails the segment is given up and
// the next block goes to a new one, so a reader finds a torn block only at the end of a file.
//
// Memory: one encoded block (at most 2 * 256 KiB + the largest payload, both before and after the
// codec).
//
// Thread-safety: belongs to one thread; the counters may be read from any.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/file.h"
#include "format/segment_columns.h"

namespace flor {

class SegmentWriter {
 public:
  // Creates no file yet. `files` must outlive this.
  SegmentWriter(FileSystem& files, std::string directory, std::string writer,
                std::uint64_t segment_bytes);

  // The block is in the file when this returns. Throws what the file system throws; then the block
  // is not.
  void append(BlockBuilder& block, std::uint32_t ring_id);
  // Everything appended is on the device (fdatasync), and so are the files' names.
  void sync();

  std::uint64_t bytes_written() const noexcept {
    return bytes_written_.load(std::memory_order_relaxed);
  }
  std::uint64_t segments() const noexcept { return segments_.load(std::memory_order_relaxed); }

 private:
  void open_next();
  void write(Bytes bytes);
  void finish_segment();

  FileSystem& files_;
  const std::string directory_, writer_;
  const std::uint64_t segment_bytes_;
  std::unique_ptr<AppendFile> file_;
  std::uint64_t next_number_ = 0;
  bool unsynced_ = false, unsynced_name_ = false;
  Buffer encoded_, block_;
  std::atomic<std::uint64_t> bytes_written_{0}, segments_{0};
};

}  // namespace flor
