// Tells afterwards whether pages of memory were written, by whomever in this process: the system
// lets each first write go and keeps that it happened (userfaultfd with PAGEMAP_SCAN, Linux 6.7).
// Any user may use it, where no container forbids the calls. Writers never wait.
//
// What it does not see: other processes that write to shared memory, and devices.
//
// Thread-safety: all methods are safe for concurrent use. In a forked child nothing is tracked.
#pragma once

#include <sys/types.h>

#include "base/bytes.h"

namespace flor {

class WriteTracker {
 public:
  static bool is_supported() noexcept;

  // Throws kIo.
  WriteTracker();
  ~WriteTracker();
  WriteTracker(const WriteTracker&) = delete;
  WriteTracker& operator=(const WriteTracker&) = delete;

  // Whole pages, from now on. False where the memory is of a kind that can't be tracked.
  bool track(Bytes pages) noexcept;
  void untrack(Bytes pages) noexcept;
  // True when all of it was tracked since and nobody has written there.
  bool is_unwritten(Bytes pages) const noexcept;
  // The same, and all pages are still there: pages that were given back read as zeros, unwritten.
  bool is_untouched(Bytes pages) const noexcept;

 private:
  const pid_t process_;
  int faults_ = -1, pagemap_ = -1;
};

}  // namespace flor
