#include "log/fork_guard.h"

#include <pthread.h>

namespace flor {

namespace internal {
std::atomic<std::uint32_t> fork_count{0};
}

namespace {
void count_fork() noexcept { internal::fork_count.fetch_add(1, std::memory_order_relaxed); }
}  // namespace

void watch_forks() {
  static const int registered = pthread_atfork(nullptr, nullptr, count_fork);
  (void)registered;
}

}  // namespace flor
