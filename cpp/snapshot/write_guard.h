// Tells of writes to pages of memory before they happen, whoever writes: this process's threads,
// its system calls (a read() into the memory), libraries. By userfaultfd write protection.
//
// Why not mprotect and a SIGSEGV handler: a system call into memory protected that way fails with
// EFAULT, a forked child inherits it, and handlers of other libraries fight over the signal. Here
// the system call waits, a child is free of it, unmapping is unhindered and no signal is involved.
// What it does not see: other processes that write to shared memory, and devices.
//
// Thread-safety: all methods are safe for concurrent use. The callback runs on the guard's own
// thread, while a writer waits; it must not wait for anyone who may be writing to protected memory,
// nor allocate (the allocator may be that writer). In a forked child nothing is protected and every
// method does nothing.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <thread>

#include "base/bytes.h"

namespace flor {

class WriteGuard {
 public:
  // Called with the address of a page that someone is about to write; must unprotect it.
  using OnWrite = std::function<void(std::uintptr_t page)>;

  // Whether the system lets this process do so, for its system calls too.
  static bool is_supported() noexcept;

  // Throws kIo.
  explicit WriteGuard(OnWrite on_write);
  // Frees all that is protected.
  ~WriteGuard();
  WriteGuard(const WriteGuard&) = delete;
  WriteGuard& operator=(const WriteGuard&) = delete;

  // Whole pages. False where the memory is of a kind that can't be protected.
  bool protect(Bytes pages) noexcept;
  // Wakes who waits to write there.
  void unprotect(Bytes pages) noexcept;

 private:
  void run();

  const OnWrite on_write_;
  const pid_t process_;
  int faults_ = -1, stop_ = -1;  // userfaultfd, eventfd
  std::thread thread_;
};

}  // namespace flor
