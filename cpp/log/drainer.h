// The background thread of a LogWriter: moves what rings hold into segments.
//
// Invariants:
//  1. A ring's read position moves only after the block with those frames was appended.
//  2. A block holds frames of one ring in their order.
//  3. `requested_ >= served_`; a flush returns when `served_` reached the number it drew.
//
// Thread-safety: all functions from any thread. stop() once, before destruction.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "log/producer.h"
#include "log/segment_writer.h"

namespace flor {

class Drainer {
 public:
  static constexpr std::chrono::milliseconds kTick{10};     // sleep while nothing is urgent
  static constexpr std::chrono::milliseconds kMaxAge{100};  // records wait so long at most
  static constexpr std::chrono::milliseconds kRetry{100};   // after a failure of the disk
  // A block is closed when it reached this.
  static constexpr std::size_t kBlockBytes = std::size_t{256} << 10;

  // Starts no thread. `files` must outlive this.
  Drainer(FileSystem& files, const std::string& directory, const std::string& writer,
          std::uint64_t segment_bytes)
      : segments_(files, directory, writer, segment_bytes) {}

  // Drains `producer` from now on; it must live until stop(). The first call starts the thread.
  void add(Producer& producer);
  // Drains everything logged before and syncs it; throws what failed.
  void flush();
  // Drains what it can, ends the thread and returns the failure of that last drain, if any.
  std::optional<Error> stop() noexcept;

  std::optional<Error> error() const;
  std::uint64_t bytes_written() const noexcept { return segments_.bytes_written(); }
  std::uint64_t segments() const noexcept { return segments_.segments(); }
  DrainState& state() noexcept { return state_; }

 private:
  struct Source {
    Producer* producer;
    bool damaged = false;
    std::int64_t waiting_since_ns = 0;  // 0 = empty when last seen
  };
  void start();
  void run() noexcept;
  // One pass; everything = whatever the age. Returns the first failure and goes on with the other
  // rings.
  std::optional<Error> pass(bool everything) noexcept;
  void drain(Source& source, bool everything);
  bool due(Source& source, std::size_t bytes, bool everything) const noexcept;
  std::size_t fill_block(Source& source, Bytes readable);
  void finish_pass(const std::optional<Error>& failure, std::uint64_t ticket, bool all) noexcept;

  SegmentWriter segments_;
  DrainState state_;
  BlockBuilder block_;           // the thread's
  std::vector<Source> sources_;  // the thread's; new ones arrive in added_

  mutable std::mutex mutex_;
  std::condition_variable served_changed_;
  std::vector<Producer*> added_;              // under mutex_
  std::uint64_t requested_ = 0, served_ = 0;  // under mutex_
  bool stopping_ = false;                     // under mutex_
  std::optional<Error> first_, last_;         // under mutex_: ever; of the last served request
  std::thread thread_;
};

}  // namespace flor
