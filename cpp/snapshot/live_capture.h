// Copy-on-write capture: nothing is copied in the call, and what the background reads before anyone
// writes is never copied by a writer (docs/decisions/0014).
//
// Regions are cut into units of 1 MiB (live_unit.h). The background reads them from live memory;
// settle() and the first write to a protected unit copy what is still open into its shadow, a place
// in the staging arena kept for it, so that neither ever waits for the disk. Live are as many bytes
// as the arena has room for; the rest, and all regions below 64 KiB, are copied in the call.
//
// Copying ahead: where writes came sooner than the last snapshot was stored, the background first
// copies all that is open, which takes a fifth of the time of storing it, so that writers find
// nothing left to copy.
//
// Self-check: a cooperative unit whose sample differs when it is read, or at the next settle(), was
// written by someone who did not settle; so was a tracked unit of which the system says so. The
// snapshot is refused (kRefused), its memory is copied eagerly from then on, and after three
// refusals so is everything.
//
// Thread-safety: `capture` is called by one thread at a time; `settle` and `stats` by any.
// Invariant: a page is unprotected only when no snapshot has an open unit there. Lock order:
// mutex_, then distrust_mutex_.
#pragma once

#include <deque>
#include <mutex>

#include "snapshot/capture.h"
#include "snapshot/live_unit.h"
#include "snapshot/write_guard.h"

namespace flor {

struct LiveStats {
  std::uint64_t settle_ns = 0;     // how long callers of settle() were held
  std::uint64_t fault_ns = 0;      // how long writers to protected memory were held
  std::uint64_t copied_bytes = 0;  // copied while one of them waited
  std::uint64_t refused = 0;       // snapshots
};

class LiveCapture final : public CapturePolicy {
 public:
  // `readers`: how many threads pin parts at once.
  LiveCapture(std::shared_ptr<StagingArena> arena, std::size_t readers);
  ~LiveCapture() override;  // REQUIRES: all parts are gone

  void capture(std::span<const Region> regions, CaptureSink& sink) override;
  // Copies what cooperative and protected units are still open. Nothing to do: returns at once.
  void settle() override;
  LiveStats stats() const noexcept;

 private:
  struct Snapshot;
  struct LivePart;
  class Part;
  using Parts = std::vector<std::shared_ptr<LivePart>>;

  Contract contract_of(const Region& region);
  Parts cut(std::span<const Region> regions, const std::shared_ptr<Snapshot>& snapshot,
            std::vector<Region>& rest);
  void close_tracked();
  void protect(LivePart& part);
  void copy_ahead(const Snapshot& snapshot);
  void check(LivePart& part);
  void refuse(Snapshot& snapshot, const LiveUnit& unit, const char* why);
  void note_write() noexcept;
  void stored(const Snapshot& snapshot) noexcept;

  void on_write(std::uintptr_t page) noexcept;
  void unprotect(const LivePart& part, LiveUnit& unit);
  // False when another snapshot has an open unit there, with which they go.
  bool unprotect_locked(const LivePart& part, const LiveUnit& unit) noexcept;
  Parts parts();
  void forget(const LivePart* part);

  const std::shared_ptr<StagingArena> arena_;
  const std::shared_ptr<StagingArena> rooms_;  // what readers read into
  EagerCapture eager_;

  std::mutex mutex_;  // guards parts_
  Parts parts_;       // in the hands of the background
  std::atomic<std::size_t> part_count_{0};

  std::mutex distrust_mutex_;  // guards distrusted_
  std::vector<Bytes> distrusted_;

  std::atomic<std::int64_t> last_capture_ns_{0}, first_write_ns_{0}, stored_ns_{0};
  std::atomic<std::uint64_t> settle_ns_{0}, fault_ns_{0}, copied_bytes_{0}, refused_{0};
  std::atomic<std::uint64_t> escapes_{0};  // protected writes let go without a copy
  std::unique_ptr<WriteTracker> tracker_;  // made on first use, as is
  std::unique_ptr<WriteGuard> guard_;      // last: its thread uses all of the above
};

}  // namespace flor
