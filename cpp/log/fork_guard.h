// Tells whether this process is a fork of the one that made an object, without a system call.
//
// After fork() the child has a copy of every logger but none of its threads, and its locks may be
// held by threads that are not there. So each object remembers the generation it was born in and
// does nothing in a child: it takes no lock, writes nothing, and leaks what it can't free safely.
//
// Thread-safety: safe from any thread; the counter changes only in a child that still has one
// thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace flor {

namespace internal {
extern std::atomic<std::uint32_t> fork_count;
}

// Counts the forks between the first process and this one, from the first call of watch_forks() on.
inline std::uint32_t fork_generation() noexcept {
  return internal::fork_count.load(std::memory_order_relaxed);
}

// Registers the handler that counts; further calls do nothing.
void watch_forks();

}  // namespace flor
