// Work on many pieces, on this thread and a few others that live only as long.
//
// Decoding a checkpoint, and the first touch of the memory it goes to, cost more than reading it;
// who restores is waiting, so the other cores are free.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace flor {

// Calls work(i) once for every i below `count`, on at most `threads` threads and on no more than
// the machine has. Whoever is done takes the next piece: pieces may differ in length. After a
// failure no new piece is begun; throws the first error, when all have ended.
template <typename Work>
void side_by_side(std::size_t count, std::size_t threads, const Work& work) {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto run = [&]() noexcept {
    for (std::size_t piece = next++; piece < count; piece = next++) try {
        work(piece);
      } catch (...) {
        next = count;
        const std::lock_guard lock(mutex);
        if (!error) error = std::current_exception();
      }
  };
  const std::size_t cores = std::max(1U, std::thread::hardware_concurrency());
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < std::min({threads, cores, count}); ++i) try {
      others.emplace_back(run);
    } catch (const std::system_error&) {
      break;  // no thread to be had
    }
  run();
  for (std::thread& other : others) other.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace flor
