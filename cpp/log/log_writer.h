// The background logger of one process: rings in, segments out.
//
// Each logging thread has a Producer (a ring); one background thread moves what the rings hold into
// segment files. A record is in a ring or in a segment from the moment try_log() returned kLogged,
// also after a kill -9 at any instant: the read position of a ring moves only after the write of
// the block completed.
//
// Invariants:
//  1. A block holds records of one ring in ascending sequence; definitions precede their use.
//  2. The drainer (log/drainer.h) is the only consumer of every ring and the only user of the
//     SegmentWriter.
//  3. A failure of the disk is kept (error()), leaves the records in the rings, and is retried
//     every 100 ms. While it lasts a full ring does not wait: the new record is dropped, counted.
//  4. In a forked child the object is inert: no function waits, writes or frees what another
//     thread may hold.
//
// Memory, in bytes: rings * (ring_bytes + 4096) of file-backed memory, one ring for each thread
// that logs at the same time; the drainer's block buffers, about 4 * (256 KiB + ring_bytes / 4) at
// most; and the names (each distinct name is kept once per ring).
//
// The background thread starts with the first producer, runs at nice 10 with all signals blocked,
// and never touches Python. It sleeps 10 ms at a time; a ring is drained when it holds an eighth of
// its capacity, when its records waited 100 ms, on flush(), and at once when it is half full.
//
// Thread-safety: all functions from any thread. close() REQUIRES that no try_log() runs at the same
// time.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "base/file.h"
#include "log/fork_guard.h"
#include "log/producer.h"

namespace flor {

struct LogOptions {
  // Of each ring, so per thread; a power of two. When a ring is full its thread waits.
  std::uint64_t ring_bytes = std::uint64_t{1} << 20;
  // A segment that reached this is followed by a new one.
  std::uint64_t segment_bytes = std::uint64_t{64} << 20;
  FileSystem* files = nullptr;   // for segments; null = the system's
  std::uint64_t ring_start = 0;  // first ring position; for tests of the wrap
};

struct LogStats {
  std::uint64_t records = 0;  // returned from try_log as logged
  std::uint64_t waits = 0, wait_ns = 0;
  std::uint64_t lost = 0;  // given up because the ring was full and the drainer failing or gone
  std::uint64_t bytes_written = 0, segments = 0, rings = 0;
  std::uint64_t memory_bytes = 0;  // mapped by rings
};

class LogWriter {
 public:
  // Makes the folder; no file and no thread until the first producer. Throws Invalid when an option
  // or the name breaks its rule or when files of a writer of that name are there already.
  LogWriter(std::string directory, std::string writer, LogOptions options = {});
  // Closes; an error is dropped (close() first to see it). In a forked child: leaks what can't be
  // freed.
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  // A producer for the calling thread alone, new or taken over; give it back with release(). It
  // lives as long as the writer. Throws Closed, FullDisk and what else making a file throws.
  Producer* acquire();
  void release(Producer* producer) noexcept;

  // Everything logged before, by any thread, is in segments on the device. Throws what kept it from
  // there.
  void flush();
  // Flushes, ends the thread, and removes the rings that are empty. Throws as flush(); the writer
  // is closed all the same, and undrained rings stay for the reader. A second call does nothing.
  void close();

  bool usable() const noexcept { return !closed_.load(std::memory_order_acquire) && !inherited(); }
  bool inherited() const noexcept { return generation_ != fork_generation(); }
  // The first failure of the background thread, if any; it stays.
  std::optional<Error> error() const;
  LogStats stats() const;
  const std::string& directory() const noexcept { return directory_; }
  const std::string& writer() const noexcept { return writer_; }

 private:
  struct Shared;
  Producer* make_producer();
  void remove_empty_rings() noexcept;

  const std::string directory_, writer_;
  const LogOptions options_;
  const std::uint32_t generation_;
  std::atomic<bool> closed_{false};
  std::unique_ptr<Shared> shared_;  // all that a forked child must not touch
};

}  // namespace flor
