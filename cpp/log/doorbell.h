// Wakes one sleeping thread: a futex with a timeout, so that ringing costs a system call only when
// somebody sleeps and the bell was not rung already.
//
// Thread-safety: ring() from any thread; wait() from one.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace flor {

class Doorbell {
 public:
  void ring() noexcept;
  // Returns after a ring that came since the last wait, or after `timeout`.
  void wait(std::chrono::nanoseconds timeout) noexcept;

 private:
  enum : std::uint32_t { kQuiet = 0, kRung = 1, kSleeping = 2 };
  std::atomic<std::uint32_t> state_{kQuiet};
};

}  // namespace flor
