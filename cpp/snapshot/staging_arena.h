// Warm memory for copies of a training state: blocks that are mapped once, touched once and used
// again.
//
// Memory touched for the first time is four times slower to write than warm memory, so blocks are
// kept until the arena dies. At most `budget_bytes` are ever mapped (at least one block).
//
// Thread-safety: safe for concurrent use. A block belongs to whoever holds it and goes back to the
// arena, which it keeps alive, when its last holder drops it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "base/bytes.h"

namespace flor {

class StagingArena : public std::enable_shared_from_this<StagingArena> {
 public:
  using Block = std::shared_ptr<const MutableBytes>;

  static std::shared_ptr<StagingArena> make(std::size_t budget_bytes);
  ~StagingArena();

  // 8 MiB, or what the budget allows: a multiple of 64 KiB.
  std::size_t block_bytes() const noexcept { return block_bytes_; }

  // nullptr when the whole budget is in use.
  Block try_acquire();
  // Waits until a holder lets go. REQUIRES: some other thread will.
  Block acquire();

  // Maps and touches blocks until `bytes` are warm or the budget is reached. Never throws: without
  // memory it does less.
  void touch(std::size_t bytes) noexcept;

  struct Stats {
    std::uint64_t mapped_bytes = 0, used_bytes = 0;
    std::uint64_t waits = 0, wait_ns = 0;  // of acquire()
  };
  Stats stats() const;

 private:
  explicit StagingArena(std::size_t budget_bytes);
  Block try_acquire_locked();
  MutableBytes map_block() const;
  void give_back(MutableBytes memory) noexcept;

  const std::size_t block_bytes_, max_blocks_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable returned_;
  std::vector<MutableBytes> free_;
  std::size_t mapped_ = 0;
  std::uint64_t waits_ = 0, wait_ns_ = 0;
};

}  // namespace flor
