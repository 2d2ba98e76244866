#include "snapshot/staging_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "base/error.h"
#include "format/chunk_id.h"

namespace flor {
namespace {

constexpr std::size_t kBlockBytes = 8 << 20;  // four huge pages
constexpr std::size_t kHugePageBytes = 2 << 20;

std::size_t block_bytes_for(std::size_t budget_bytes) {
  const std::size_t whole_chunks = budget_bytes / kChunkBytes * kChunkBytes;
  return std::clamp<std::size_t>(whole_chunks, kChunkBytes, kBlockBytes);
}

}  // namespace

std::shared_ptr<StagingArena> StagingArena::make(std::size_t budget_bytes) {
  return std::shared_ptr<StagingArena>(new StagingArena(budget_bytes));
}

StagingArena::StagingArena(std::size_t budget_bytes)
    : block_bytes_(block_bytes_for(budget_bytes)),
      max_blocks_(std::max<std::size_t>(1, budget_bytes / block_bytes_)) {}

StagingArena::~StagingArena() {
  for (const MutableBytes memory : free_) ::munmap(memory.data(), memory.size());
}

MutableBytes StagingArena::map_block() const {
  // Mapped with room to spare and cut to a huge-page boundary, so that the block can be huge pages.
  const std::size_t spare = block_bytes_ >= kHugePageBytes ? kHugePageBytes : 0;
  void* const at = ::mmap(nullptr, block_bytes_ + spare, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) throw system_error("can't map staging memory", {}, errno);
  auto* begin = static_cast<std::byte*>(at);
  if (spare != 0) {
    const auto address = reinterpret_cast<std::uintptr_t>(begin);
    const std::size_t skip = (kHugePageBytes - address % kHugePageBytes) % kHugePageBytes;
    if (skip != 0) ::munmap(begin, skip);
    if (spare - skip != 0) ::munmap(begin + skip + block_bytes_, spare - skip);
    begin += skip;
    ::madvise(begin, block_bytes_, MADV_HUGEPAGE);
  }
  // A forked child (a data loader's worker) has no use for it and need not copy what the parent
  // rewrites.
  ::madvise(begin, block_bytes_, MADV_DONTFORK);
  return {begin, block_bytes_};
}

StagingArena::Block StagingArena::try_acquire_locked() {
  MutableBytes memory;
  if (!free_.empty()) {
    memory = free_.back();
    free_.pop_back();
  } else if (mapped_ < max_blocks_) {
    memory = map_block();
    ++mapped_;
  } else {
    return nullptr;
  }
  return {new MutableBytes(memory), [arena = shared_from_this()](const MutableBytes* block) {
            arena->give_back(*block);
            delete block;
          }};
}

StagingArena::Block StagingArena::try_acquire() {
  const std::lock_guard lock(mutex_);
  return try_acquire_locked();
}

StagingArena::Block StagingArena::acquire() {
  std::unique_lock lock(mutex_);
  if (Block block = try_acquire_locked()) return block;
  const std::int64_t begin = monotonic_ns();
  ++waits_;
  Block block;
  returned_.wait(lock, [&] { return (block = try_acquire_locked()) != nullptr; });
  wait_ns_ += static_cast<std::uint64_t>(monotonic_ns() - begin);
  return block;
}

void StagingArena::touch(std::size_t bytes) noexcept try {
  std::vector<Block> held;  // all at once, so that each is another one
  for (std::size_t done = 0; done < bytes; done += block_bytes_) {
    held.push_back(try_acquire());
    if (held.back() == nullptr) return;
    std::memset(held.back()->data(), 0, block_bytes_);
  }
} catch (const std::exception&) {
  // The next capture will meet the same want of memory and tell it.
}

void StagingArena::give_back(MutableBytes memory) noexcept {
  {
    const std::lock_guard lock(mutex_);
    free_.push_back(memory);
  }
  returned_.notify_all();
}

StagingArena::Stats StagingArena::stats() const {
  const std::lock_guard lock(mutex_);
  Stats stats;
  stats.mapped_bytes = mapped_ * block_bytes_;
  stats.used_bytes = (mapped_ - free_.size()) * block_bytes_;
  stats.waits = waits_;
  stats.wait_ns = wait_ns_;
  return stats;
}

}  // namespace flor
