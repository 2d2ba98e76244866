#include "base/clock.h"

#include <ctime>

namespace flor {
namespace {

std::int64_t read_clock(clockid_t id) noexcept {
  timespec now{};
  clock_gettime(id, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

}  // namespace

std::int64_t monotonic_ns() noexcept { return read_clock(CLOCK_MONOTONIC); }

std::int64_t unix_ns() noexcept {
  static const std::int64_t offset = read_clock(CLOCK_REALTIME) - monotonic_ns();
  return offset + monotonic_ns();
}

std::int64_t thread_cpu_ns() noexcept { return read_clock(CLOCK_THREAD_CPUTIME_ID); }

}  // namespace flor
