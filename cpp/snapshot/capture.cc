#include "snapshot/capture.h"

#include <algorithm>
#include <cstring>

#include "format/chunk_id.h"

namespace flor {
namespace {

// A part ends with the first region that brings it here: enough to keep a worker busy, little
// enough that several workers share a state.
constexpr std::size_t kPartBytes = 32 << 20;
constexpr std::size_t kAlignment = 64;

}  // namespace

class EagerCapture::Part final : public StagedPart {
 public:
  std::span<const StagedPiece> pin() override { return pieces_; }

  void add(const StagedPiece& piece, const StagingArena::Block& block) {
    if (blocks_.empty() || blocks_.back() != block) blocks_.push_back(block);
    pieces_.push_back(piece);
    bytes_ += piece.bytes.size();
  }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::vector<StagedPiece> pieces_;
  std::vector<StagingArena::Block> blocks_;
  std::size_t bytes_ = 0;
};

EagerCapture::EagerCapture(std::shared_ptr<StagingArena> arena) : arena_(std::move(arena)) {}
EagerCapture::~EagerCapture() = default;

void EagerCapture::capture(std::span<const Region> regions, CaptureSink& sink) try {
  for (std::size_t i = 0; i < regions.size(); ++i) {
    copy_region(i, regions[i], sink);
    if (part_ != nullptr && part_->bytes() >= kPartBytes) finish_part();
  }
  hand_over(sink);
} catch (...) {
  // No memory: the next capture starts clean.
  part_.reset();
  finished_.clear();
  block_.reset();
  throw;
}

void EagerCapture::copy_region(std::size_t index, const Region& region, CaptureSink& sink) {
  const Bytes bytes = region.bytes;
  for (std::size_t done = 0; done < bytes.size();) {
    const MutableBytes room = room_for(bytes.size() - done, sink);
    const std::size_t count = std::min(room.size(), bytes.size() - done);
    std::memcpy(room.data(), bytes.data() + done, count);
    if (part_ == nullptr) part_ = std::make_unique<Part>();
    part_->add({index, region.first_chunk + done / kChunkBytes, room.first(count)}, block_);
    used_ += (count + kAlignment - 1) / kAlignment * kAlignment;
    done += count;
  }
}

// Room for all of `bytes`, or for as many whole chunks as the current block has.
MutableBytes EagerCapture::room_for(std::size_t bytes, CaptureSink& sink) {
  if (block_ != nullptr) {
    const std::size_t left = block_->size() > used_ ? block_->size() - used_ : 0;
    if (left >= bytes) return block_->subspan(used_, bytes);
    if (left >= kChunkBytes) return block_->subspan(used_, left / kChunkBytes * kChunkBytes);
  }
  block_ = arena_->try_acquire();
  if (block_ == nullptr) {
    hand_over(sink);
    block_ = arena_->acquire();
  }
  used_ = 0;
  return block_->first(std::min(bytes, block_->size()));
}

void EagerCapture::finish_part() {
  if (part_ != nullptr) finished_.push_back(std::move(part_));
}

void EagerCapture::hand_over(CaptureSink& sink) {
  finish_part();
  block_.reset();  // what was handed over must be able to come back
  for (auto& part : finished_) sink.accept(std::move(part));
  finished_.clear();
}

}  // namespace flor
