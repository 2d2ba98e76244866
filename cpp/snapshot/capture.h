// How memory becomes something that holds still while a background thread stores it.
//
// A CapturePolicy turns regions into parts and hands them to a sink, which stores them.
// EagerCapture copies everything before it returns; LiveCapture (live_capture.h) hands out parts
// that lie in live memory and settles who copies first. Neither the snapshotter nor the store needs
// to know.
//
// Thread-safety: `capture` is called by one thread at a time, `settle` by any; a part is pinned and
// destroyed by one background thread, without the GIL.
#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "snapshot/staging_arena.h"

namespace flor {

// Who may write to a region after the call, and so when it is copied (docs/decisions/0014).
enum class Contract : std::uint8_t {
  kEager,        // anyone: copied before the call returns
  kCooperative,  // only those who call settle() first
  kProtected,    // anyone: the system tells of the first write, and the writer waits for its copy
  kTracked,      // as kCooperative, and the system tells afterwards whether someone else wrote
};

// Memory to capture. Unless it is eager, the caller keeps it from being freed until the snapshot is
// done, where that is in the caller's hands; a snapshot whose memory goes away is refused.
struct Region {
  Bytes bytes;
  Contract contract = Contract::kEager;
  std::uint64_t first_chunk = 0;  // of `bytes`, when they are a part of a longer region
  bool watch = false;             // whether it may be found unchanged (unchanged_memory.h)
};

// A run of a region that starts at a chunk boundary.
struct StagedPiece {
  std::size_t region = 0;
  std::uint64_t first_chunk = 0;
  Bytes bytes;
};

// Pieces to be stored together. Destruction gives their memory back.
class StagedPart {
 public:
  virtual ~StagedPart() = default;
  // Called once, right before the pieces are read: they hold still from then until destruction.
  // Throws kRefused when the bytes of the instant are lost.
  virtual std::span<const StagedPiece> pin() = 0;
};

class CaptureSink {
 public:
  // Refuses the snapshot. May be called by any thread, also after the sink is gone.
  using Refuse = std::function<void(std::exception_ptr)>;

  virtual ~CaptureSink() = default;
  // The background may begin with `part` at once.
  virtual void accept(std::unique_ptr<StagedPart> part) = 0;
  virtual Refuse refusal() = 0;
};

class CapturePolicy {
 public:
  virtual ~CapturePolicy() = default;
  // When it returns, what the parts will give is the content the regions had during this call,
  // whatever is written to them afterwards. The caller must not let anyone write to them during the
  // call.
  virtual void capture(std::span<const Region> regions, CaptureSink& sink) = 0;
  // The regions captured cooperatively may be written once this has returned.
  virtual void settle() {}
};

// Copies into the arena. Parts are handed over when all is copied, so that the caller is not slowed
// by the background; but when the arena is full, what was copied goes ahead and the caller waits
// for room (counted by the arena). So a state larger than the whole arena passes through it in
// slices.
class EagerCapture final : public CapturePolicy {
 public:
  explicit EagerCapture(std::shared_ptr<StagingArena> arena);
  ~EagerCapture() override;
  void capture(std::span<const Region> regions, CaptureSink& sink) override;

 private:
  class Part;

  void copy_region(std::size_t index, const Region& region, CaptureSink& sink);
  MutableBytes room_for(std::size_t bytes, CaptureSink& sink);
  void finish_part();
  void hand_over(CaptureSink& sink);

  const std::shared_ptr<StagingArena> arena_;
  std::unique_ptr<Part> part_;                         // being filled
  std::vector<std::unique_ptr<StagedPart>> finished_;  // not handed over yet
  StagingArena::Block block_;                          // being filled
  std::size_t used_ = 0;                               // of block_
};

}  // namespace flor
