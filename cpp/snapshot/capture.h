// How memory becomes something that holds still while a background thread stores it.
//
// A CapturePolicy turns regions into parts and hands them to a sink, which stores them.
// EagerCapture copies everything before it returns. Another policy may hand out parts that lie in
// live memory and settle who copies first when `pin` is called; neither the snapshotter nor the
// store needs to know.
//
// Thread-safety: `capture` is called by one thread at a time; a part is pinned and destroyed by one
// background thread, without the GIL.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "base/bytes.h"
#include "snapshot/staging_arena.h"

namespace flor {

// Memory to capture. `holder` keeps it alive for as long as a policy needs it; it is dropped by the
// thread that called `capture`, before or after that call returned, because dropping it may need
// the GIL.
struct Region {
  Bytes bytes;
  std::shared_ptr<const void> holder;
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
  virtual std::span<const StagedPiece> pin() = 0;
};

class CaptureSink {
 public:
  virtual ~CaptureSink() = default;
  // The background may begin with `part` at once.
  virtual void accept(std::unique_ptr<StagedPart> part) = 0;
};

class CapturePolicy {
 public:
  virtual ~CapturePolicy() = default;
  // When it returns, what the parts will give is the content the regions had during this call,
  // whatever is written to them afterwards. The caller must not let anyone write to them during the
  // call.
  virtual void capture(std::span<const Region> regions, CaptureSink& sink) = 0;
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

  void copy_region(std::size_t region, Bytes bytes, CaptureSink& sink);
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
