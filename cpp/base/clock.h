// Time: `unix_ns` for what people read (never steps back within a process), `monotonic_ns` for
// durations.
#pragma once

#include <cstdint>

namespace flor {

// Nanoseconds since the Unix epoch: the wall clock read once, advanced by the monotonic clock
// since, so that the times of one process are ordered even when the system clock is set.
std::int64_t unix_ns() noexcept;

std::int64_t monotonic_ns() noexcept;

// CPU time of the calling thread.
std::int64_t thread_cpu_ns() noexcept;

}  // namespace flor
