// Work on the pieces of a range, on this thread and a few others that live only as long.
//
// Decoding a checkpoint, and the first touch of the memory it goes to, cost more than reading it;
// who restores is waiting, so the other cores are free.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace flor {

// Calls work(begin, end) for pieces that make up [begin, end) and are cut at multiples of `grain`
// only. One call, on this thread, when there is less than `least` for each of two threads. Throws
// the error of the first piece that failed; all have ended by then.
template <typename Work>
void side_by_side(std::uint64_t begin, std::uint64_t end, std::uint64_t grain, std::uint64_t least,
                  const Work& work) {
  constexpr std::uint64_t kMostThreads = 4;
  const std::uint64_t wanted = std::min(
      {kMostThreads, std::uint64_t{std::thread::hardware_concurrency()}, (end - begin) / least});
  if (wanted < 2) return work(begin, end);
  std::vector<std::uint64_t> cuts{begin};
  for (std::uint64_t i = 1; i < wanted; ++i)
    cuts.push_back((begin + (end - begin) / wanted * i) / grain * grain);
  cuts.push_back(end);
  std::vector<std::exception_ptr> errors(wanted);
  const auto run = [&](std::size_t piece) noexcept {
    try {
      work(cuts[piece], cuts[piece + 1]);
    } catch (...) {
      errors[piece] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t piece = 1; piece < wanted; ++piece) try {
      threads.emplace_back(run, piece);
    } catch (const std::system_error&) {
      run(piece);  // no thread to be had
    }
  run(0);
  for (std::thread& thread : threads) thread.join();
  for (const std::exception_ptr& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace flor
