// A stretch of live memory being captured: whoever comes first copies it, once.
//
//   kLive ─┬─> kTaken                    the background has read it into memory of its own
//          └─> kCopying ─┬─> kCopied     someone copied it into its shadow: who is about to write
//          it,
//                        │               or the background ahead of time
//                        └─> kLost       its memory is gone, or was written by someone unseen
//
// Nobody about to write ever waits for the background, which has a low priority: the background
// reads without a lock and looks afterwards whether the unit is still kLive; if it is not, what it
// read is void and the shadow has the bytes.
//
// Thread-safety: safe for concurrent use. Invariants:
//   1. A unit leaves kLive for kTaken only after its bytes were read; reading begun before and
//   ended
//      after another left kLive is thrown away.
//   2. Who has seen a state other than kLive and kCopying may write to the memory.
#pragma once

#include <atomic>
#include <optional>

#include "base/bytes.h"
#include "snapshot/capture.h"
#include "snapshot/live_memory.h"
#include "snapshot/write_tracker.h"

namespace flor {

class LiveUnit {
 public:
  // `shadow` is as long as `live`. A protected or tracked unit copies at once what lies outside its
  // whole pages: other memory shares those pages.
  // `tracker` is told of no page here, but asked whether those of a tracked unit were written.
  LiveUnit(Contract contract, std::size_t region, std::uint64_t first_chunk, Bytes live,
           MutableBytes shadow, const WriteTracker* tracker);
  LiveUnit(const LiveUnit&) = delete;
  LiveUnit& operator=(const LiveUnit&) = delete;

  Contract contract() const noexcept { return contract_; }
  std::size_t region() const noexcept { return region_; }
  std::uint64_t first_chunk() const noexcept { return first_chunk_; }
  Bytes live() const noexcept { return live_; }
  // The whole pages inside; empty when cooperative.
  Bytes pages() const noexcept { return pages_; }
  // Nobody has its bytes yet.
  bool is_open() const noexcept {
    const State now = state_.load(std::memory_order_acquire);
    return now == State::kLive || now == State::kCopying;
  }

  // Copies into the shadow unless someone has the bytes already; returns when someone has. True
  // when this call copied.
  bool secure() noexcept { return copy_first(true); }
  // The same during the call that captures, where its pages can't be watched.
  void copy_at_once() noexcept { copy_first(false); }
  // The bytes, in `room` (as long as `live`) or in the shadow; nullopt when they are lost. For the
  // one who stores them, once.
  std::optional<Bytes> take(MutableBytes room) noexcept;
  // Nobody wants the bytes any more.
  void abandon() noexcept;
  // Its pages were protected, and it is now for the caller to unprotect them: says so once.
  void set_protected() noexcept { protected_ = true; }
  bool end_protection() noexcept { return protected_.exchange(false); }
  // Whether the memory is as it was when the unit was made: by a sample when cooperative, by its
  // pages when tracked.
  bool is_unwritten() const noexcept;

 private:
  enum class State : std::uint32_t { kLive, kCopying, kCopied, kTaken, kLost };

  bool copy_first(bool checked) noexcept;
  bool copy_to(MutableBytes room) const noexcept;
  bool leave_live(State next) noexcept;
  State wait_closed() const noexcept;

  const Contract contract_;
  const std::size_t region_;
  const std::uint64_t first_chunk_;
  const Bytes live_;
  const MutableBytes shadow_;
  const WriteTracker* const tracker_;
  Bytes pages_;
  Buffer head_, tail_;  // around the whole pages
  Sample sample_{};     // cooperative
  std::atomic<State> state_{State::kLive};
  std::atomic<bool> protected_{false};
};

}  // namespace flor
