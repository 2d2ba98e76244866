// A checkpoint on its way to the disk.
//
// Thread-safety: all methods are safe for concurrent use. In a forked child `wait` throws kClosed:
// the thread that would finish it lives in the parent.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "format/manifest_format.h"
#include "snapshot/unchanged_memory.h"

namespace flor {

class Pending {
 public:
  explicit Pending(std::string path);
  ~Pending();
  Pending(const Pending&) = delete;
  Pending& operator=(const Pending&) = delete;

  // Durable, or failed.
  bool done() const;
  // True when done; then throws the error of a failed one. False after `timeout_seconds`.
  bool wait(std::optional<double> timeout_seconds) const;
  // What failed, or nothing (yet).
  std::optional<std::string> error() const;
  // It failed because its bytes may not be the state at its instant: nothing is wrong but this one.
  bool refused() const;

  const std::string& path() const noexcept { return path_; }
  double stall_seconds() const noexcept { return stall_ns_ * 1e-9; }         // how long take() took
  double background_cpu_seconds() const noexcept { return cpu_ns_ * 1e-9; }  // so far
  std::uint64_t raw_bytes() const noexcept { return manifest_.totals.raw_bytes; }
  std::uint64_t stored_bytes() const noexcept { return stored_bytes_; }  // so far

 private:
  friend class Snapshotter;

  // The first error is kept.
  void fail(std::exception_ptr error);
  bool failed() const;
  void finish();
  // The region of the key checkpoint that the same region of this one may be stored as a difference
  // to: it has the same length. nullptr when there is none.
  const ContentRef* base_of(std::size_t region) const noexcept;

  // Waiting on a condition variable that a forked child destroys could hang the child, so a child
  // leaks it.
  struct Shared {
    mutable std::mutex mutex;  // guards all below
    std::condition_variable changed;
    bool done = false;
    bool refused = false;
    std::exception_ptr error;
  };

  const std::string path_;
  const pid_t process_;
  std::unique_ptr<Shared> shared_;
  Manifest manifest_;         // chunk names are filled in by workers, each its own pieces
  UnchangedMemory::Cut cut_;  // what was captured; its regions are those of the manifest
  std::shared_ptr<const std::vector<ContentRef>> bases_;  // of the key checkpoint; null for a key
  std::once_flag begun_;
  std::uint64_t epoch_ = 0;
  std::atomic<std::size_t> tasks_left_{0};
  std::atomic<std::int64_t> stall_ns_{0}, cpu_ns_{0};
  std::atomic<std::uint64_t> stored_bytes_{0}, new_chunks_{0}, dedup_bytes_{0};
};

}  // namespace flor
