#include "log/doorbell.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ctime>

namespace flor {
namespace {

long futex(std::atomic<std::uint32_t>* word, int operation, std::uint32_t value,
           const timespec* timeout) {
  static_assert(sizeof(*word) == sizeof(std::uint32_t));
  return ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(word), operation, value, timeout,
                   nullptr, 0);
}

}  // namespace

void Doorbell::ring() noexcept {
  // The plain load keeps a producer that rings for every record from bouncing the cache line.
  if (state_.load(std::memory_order_relaxed) == kRung) return;
  if (state_.exchange(kRung) == kSleeping) futex(&state_, FUTEX_WAKE_PRIVATE, 1, nullptr);
}

void Doorbell::wait(std::chrono::nanoseconds timeout) noexcept {
  std::uint32_t expected = kQuiet;
  if (state_.compare_exchange_strong(expected, kSleeping)) {
    const timespec relative{static_cast<time_t>(timeout.count() / 1'000'000'000),
                            timeout.count() % 1'000'000'000};
    futex(&state_, FUTEX_WAIT_PRIVATE, kSleeping, &relative);
  }
  state_.store(kQuiet);
}

}  // namespace flor
