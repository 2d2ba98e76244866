// A byte ring between one producer and one consumer, in a file mapping that outlives the process.
//
// The data area is mapped twice, end to end, so a frame that runs over the end needs no special
// case and readable() is always one span. Positions count bytes, wrap at 2^64, and lie in the file,
// so that whatever was committed can be read after a kill -9 (read/log_ring_copy.h).
//
// Invariants:
//  1. Only the producer stores the write position, only the consumer the read position.
//  2. write - read is never more than the capacity (modulo 2^64).
//  3. A frame is written before the write position passes it (release store in commit): a reader
//     that sees the position (acquire) sees the bytes. The same for read position and reuse of the
//     space.
//  4. Each side works from its own copy of the other's position and reads the shared one only when
//     that copy says full (or empty): in the common case no cache line is shared.
//
// The file is allocated and every page of both mappings is touched when it is made: a full disk is
// an error there and not a SIGBUS later, and the hot path takes no first-touch fault. (On a
// copy-on-write file system a later rewrite may still need space; ext4, xfs and tmpfs rewrite in
// place.)
//
// Thread-safety: the producer functions from one thread at a time, the consumer functions from one
// other.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "base/bytes.h"
#include "format/ring_header.h"

namespace flor {

class Ring {
 public:
  // Makes the file under a temporary name and renames it to `path` when it is complete: a reader
  // never sees half a head. `start` is the first position; tests put it near the wrap. Throws
  // FullDisk, Invalid, Io.
  static std::unique_ptr<Ring> create(const std::string& path, const RingHeader& header,
                                      std::uint64_t start = 0);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  std::uint64_t capacity() const noexcept { return capacity_; }
  const std::string& path() const noexcept { return path_; }

  // Producer. Space for `size` bytes at the write position, or null when the ring is too full now.
  // REQUIRES: size is a multiple of 8, at most capacity.
  std::byte* reserve(std::size_t size) noexcept {
    if (size > capacity_ - (write_ - cached_read_)) [[unlikely]] {
      cached_read_ = shared_read().load(std::memory_order_acquire);
      if (size > capacity_ - (write_ - cached_read_)) return nullptr;
    }
    return data_ + (write_ & mask_);
  }
  // Makes the reserved bytes visible. True when the ring is more than half full now.
  bool commit(std::size_t size) noexcept {
    write_ += size;
    shared_write().store(write_, std::memory_order_release);
    if (write_ - cached_read_ <= capacity_ / 2) [[likely]]
      return false;
    cached_read_ = shared_read().load(std::memory_order_acquire);
    return write_ - cached_read_ > capacity_ / 2;
  }
  std::uint64_t write_position() const noexcept { return write_; }

  // Consumer. Everything committed and not released, as one span. Stays valid until released.
  Bytes readable() noexcept {
    const std::uint64_t write = shared_write().load(std::memory_order_acquire);
    return {data_ + (read_ & mask_), static_cast<std::size_t>(write - read_)};
  }
  void release(std::size_t size) noexcept {
    read_ += size;
    shared_read().store(read_, std::memory_order_release);
  }
  std::uint64_t read_position() const noexcept { return read_; }

 private:
  Ring(std::string path, std::uint64_t capacity, std::byte* head, std::byte* data,
       std::uint64_t start) noexcept;
  std::atomic_ref<std::uint64_t> shared_write() const noexcept {
    return position(kRingWritePosition);
  }
  std::atomic_ref<std::uint64_t> shared_read() const noexcept {
    return position(kRingReadPosition);
  }
  std::atomic_ref<std::uint64_t> position(std::size_t offset) const noexcept {
    return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(head_ + offset));
  }

  const std::string path_;
  const std::uint64_t capacity_, mask_;
  std::byte* const head_;
  std::byte* const data_;
  alignas(64) std::uint64_t write_;  // the producer's line
  std::uint64_t cached_read_;
  alignas(64) std::uint64_t read_;  // the consumer's line
};

}  // namespace flor
