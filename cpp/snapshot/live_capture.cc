#include "snapshot/live_capture.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "format/chunk_id.h"

namespace flor {
namespace {

constexpr std::size_t kUnitBytes = 1 << 20;
// Below, a copy costs less than keeping account.
constexpr std::size_t kMinBytes = 64 << 10;
constexpr std::uint64_t kMaxRefused = 3;
// How long a writer waits for the list of parts, whose holder may in theory be itself, writing to
// memory that was freed while it was protected.
constexpr std::int64_t kEscapeNs = 1'000'000'000;

bool overlap(Bytes a, Bytes b) noexcept {
  return a.data() < b.data() + b.size() && b.data() < a.data() + a.size();
}

Bytes page_at(std::uintptr_t address) noexcept {
  static const auto bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  return {reinterpret_cast<const std::byte*>(address), bytes};
}

}  // namespace

// What the parts of one capture share.
struct LiveCapture::Snapshot {
  CaptureSink::Refuse refuse;
  std::int64_t begin_ns = 0;
  std::uint64_t escapes = 0;
  bool ahead = false;  // copy ahead
  std::atomic<bool> refused{false};
  std::atomic<std::size_t> parts_left{0};
};

// Units that share a block of the arena for their shadows.
struct LiveCapture::LivePart {
  std::shared_ptr<Snapshot> snapshot;
  StagingArena::Block shadows;
  std::size_t used = 0;  // of the block
  std::deque<LiveUnit> units;
  std::atomic<bool> settled{false};
};

class LiveCapture::Part final : public StagedPart {
 public:
  Part(LiveCapture& owner, std::shared_ptr<LivePart> part)
      : owner_(owner), part_(std::move(part)) {}
  ~Part() override {
    for (LiveUnit& unit : part_->units) {
      unit.abandon();
      owner_.unprotect(*part_, unit);
    }
    owner_.forget(part_.get());
    if (--part_->snapshot->parts_left == 0) owner_.stored(*part_->snapshot);
  }

  std::span<const StagedPiece> pin() override {
    if (part_->snapshot->ahead) owner_.copy_ahead(*part_->snapshot);
    room_ = owner_.rooms_->acquire();
    std::size_t used = 0;
    for (LiveUnit& unit : part_->units) {
      const auto bytes = unit.take(room_->subspan(used, unit.live().size()));
      used += unit.live().size();
      owner_.unprotect(*part_, unit);
      if (!bytes) owner_.refuse(*part_->snapshot, unit, "was freed, or written by someone unseen");
      if (unit.contract() == Contract::kProtected && owner_.escapes_ != part_->snapshot->escapes)
        owner_.refuse(*part_->snapshot, unit, "was written while flor was busy");
      if (part_->snapshot->refused)
        throw Error(ErrorKind::kRefused, "the checkpoint was refused");  // a fuller text came first
      pieces_.push_back({unit.region(), unit.first_chunk(), *bytes});
    }
    return pieces_;
  }

 private:
  LiveCapture& owner_;
  const std::shared_ptr<LivePart> part_;
  StagingArena::Block room_;
  std::vector<StagedPiece> pieces_;
};

LiveCapture::LiveCapture(std::shared_ptr<StagingArena> arena, std::size_t readers)
    : arena_(std::move(arena)),
      rooms_(StagingArena::make(readers * arena_->block_bytes())),
      eager_(arena_) {}

LiveCapture::~LiveCapture() = default;

// -- capture --------------------------------------------------------------------------------------

void LiveCapture::capture(std::span<const Region> regions, CaptureSink& sink) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->refuse = sink.refusal();
  snapshot->begin_ns = monotonic_ns();
  snapshot->escapes = escapes_;
  // Before the first figures it is assumed that writes come soon.
  const std::int64_t window = first_write_ns_, stored = stored_ns_;
  snapshot->ahead = window == 0 || stored == 0 || 2 * window < 3 * stored;

  std::vector<Region> rest(regions.begin(), regions.end());
  Parts parts = cut(regions, snapshot, rest);
  snapshot->parts_left = parts.size();
  if (!parts.empty()) last_capture_ns_ = snapshot->begin_ns;
  close_tracked();
  {
    const std::lock_guard lock(mutex_);
    parts_.insert(parts_.end(), parts.begin(), parts.end());
    part_count_ = parts_.size();
  }
  // After they are in the list: a page that an older snapshot gives back now stays protected.
  for (const auto& part : parts) protect(*part);
  // Moved: the copying below may have to wait until their memory comes back.
  for (auto& part : parts) sink.accept(std::make_unique<Part>(*this, std::move(part)));
  eager_.capture(rest, sink);
}

// Cuts regions into units while the arena has room; takes what it cut out of `rest`.
LiveCapture::Parts LiveCapture::cut(std::span<const Region> regions,
                                    const std::shared_ptr<Snapshot>& snapshot,
                                    std::vector<Region>& rest) {
  Parts parts;
  if (arena_->block_bytes() < 2 * kUnitBytes) return parts;
  for (std::size_t i = 0; i < regions.size(); ++i) {
    const Bytes bytes = regions[i].bytes;
    const Contract contract = contract_of(regions[i]);
    if (contract == Contract::kEager) continue;
    for (std::size_t begin = 0; begin < bytes.size();) {
      std::size_t count = std::min(kUnitBytes, bytes.size() - begin);
      if (bytes.size() - begin - count < kMinBytes) count = bytes.size() - begin;
      if (parts.empty() || parts.back()->used + count > parts.back()->shadows->size()) {
        auto block = arena_->try_acquire();
        if (block == nullptr) {
          rest[i].bytes = bytes.subspan(begin);
          rest[i].first_chunk = regions[i].first_chunk + begin / kChunkBytes;
          return parts;
        }
        parts.push_back(std::make_shared<LivePart>());
        parts.back()->snapshot = snapshot;
        parts.back()->shadows = std::move(block);
      }
      LivePart& part = *parts.back();
      part.units.emplace_back(contract, i, regions[i].first_chunk + begin / kChunkBytes,
                              bytes.subspan(begin, count), part.shadows->subspan(part.used, count),
                              tracker_.get());
      part.used += count;
      begin += count;
    }
    rest[i].bytes = {};
  }
  return parts;
}

Contract LiveCapture::contract_of(const Region& region) {
  if (region.contract == Contract::kEager || region.bytes.size() < kMinBytes || !can_copy_live() ||
      refused_ >= kMaxRefused)
    return Contract::kEager;
  const std::lock_guard lock(distrust_mutex_);
  const auto same = [&](Bytes other) { return overlap(other, region.bytes); };
  if (std::any_of(distrusted_.begin(), distrusted_.end(), same)) return Contract::kEager;
  if (region.contract == Contract::kProtected && guard_ == nullptr) {
    if (!WriteGuard::is_supported()) return Contract::kEager;
    guard_ = std::make_unique<WriteGuard>([this](std::uintptr_t page) { on_write(page); });
  }
  if (region.contract == Contract::kTracked && tracker_ == nullptr) {
    if (!WriteTracker::is_supported()) return Contract::kEager;
    tracker_ = std::make_unique<WriteTracker>();
  }
  return region.contract;
}

// To track pages again is to forget whether they were written.
void LiveCapture::close_tracked() {
  if (tracker_ == nullptr) return;
  for (const auto& part : parts())
    for (LiveUnit& unit : part->units)
      if (unit.contract() == Contract::kTracked) unit.secure();
}

void LiveCapture::protect(LivePart& part) {
  for (LiveUnit& unit : part.units) {
    if (unit.pages().empty()) continue;
    const bool tracked = unit.contract() == Contract::kTracked;
    if (tracked ? tracker_->track(unit.pages()) : guard_->protect(unit.pages()))
      unit.set_protected();
    else
      unit.copy_at_once();
  }
}

// -- who comes first ------------------------------------------------------------------------------

void LiveCapture::settle() {
  if (part_count_ == 0) return;
  const std::int64_t begin = monotonic_ns();
  note_write();
  for (const auto& part : parts()) {
    if (part->settled) continue;
    for (LiveUnit& unit : part->units) {
      if (unit.secure()) copied_bytes_ += unit.live().size();
      unprotect(*part, unit);
    }
    check(*part);
    part->settled = true;
  }
  settle_ns_ += static_cast<std::uint64_t>(monotonic_ns() - begin);
}

void LiveCapture::check(LivePart& part) {
  for (const LiveUnit& unit : part.units)
    if (unit.contract() == Contract::kCooperative && !unit.is_unwritten())
      refuse(*part.snapshot, unit, "was freed, or written by someone unseen");
}

void LiveCapture::copy_ahead(const Snapshot& snapshot) {
  for (const auto& part : parts()) {
    if (part->snapshot.get() != &snapshot || part->settled) continue;
    for (LiveUnit& unit : part->units) {
      unit.secure();
      unprotect(*part, unit);
    }
  }
}

// On the guard's thread, while a writer waits: takes no lock that could be the writer's for long,
// allocates nothing.
void LiveCapture::on_write(std::uintptr_t page) noexcept {
  const std::int64_t begin = monotonic_ns();
  const Bytes at = page_at(page);
  std::unique_lock lock(mutex_, std::defer_lock);
  while (!lock.try_lock()) {
    if (monotonic_ns() - begin > kEscapeNs) {
      ++escapes_;
      return guard_->unprotect(at);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  note_write();
  for (const auto& part : parts_)
    for (LiveUnit& unit : part->units)
      if (overlap(unit.pages(), at) && unit.secure()) copied_bytes_ += unit.live().size();
  bool is_free = false;
  for (const auto& part : parts_)
    for (LiveUnit& unit : part->units)
      if (overlap(unit.pages(), at)) is_free |= unprotect_locked(*part, unit);
  // Its unit may have to stay protected for another one that begins elsewhere; the page need not.
  if (!is_free) guard_->unprotect(at);
  fault_ns_ += static_cast<std::uint64_t>(monotonic_ns() - begin);
}

void LiveCapture::unprotect(const LivePart& part, LiveUnit& unit) {
  if (!unit.end_protection()) return;
  const std::lock_guard lock(mutex_);
  unprotect_locked(part, unit);
}

bool LiveCapture::unprotect_locked(const LivePart& part, const LiveUnit& unit) noexcept {
  for (const auto& other : parts_) {
    if (other->snapshot == part.snapshot) continue;
    for (const LiveUnit& mine : other->units)
      if (mine.is_open() && overlap(mine.pages(), unit.pages())) return false;
  }
  if (unit.contract() == Contract::kTracked)
    tracker_->untrack(unit.pages());
  else
    guard_->unprotect(unit.pages());
  return true;
}

LiveCapture::Parts LiveCapture::parts() {
  const std::lock_guard lock(mutex_);
  return parts_;
}

void LiveCapture::forget(const LivePart* part) {
  const std::lock_guard lock(mutex_);
  std::erase_if(parts_, [&](const auto& each) { return each.get() == part; });
  part_count_ = parts_.size();
}

// -- what was learnt ------------------------------------------------------------------------------

void LiveCapture::refuse(Snapshot& snapshot, const LiveUnit& unit, const char* why) {
  {
    const std::lock_guard lock(distrust_mutex_);
    distrusted_.push_back(unit.live());
  }
  if (snapshot.refused.exchange(true)) return;
  ++refused_;
  snapshot.refuse(std::make_exception_ptr(
      Error(ErrorKind::kRefused, "the checkpoint was refused: memory of region " +
                                     std::to_string(unit.region()) + " " + why +
                                     " before it was stored; from now on it is copied at once")));
}

// A write was announced: how long after the last capture says whether copying ahead pays.
void LiveCapture::note_write() noexcept {
  const std::int64_t begin = last_capture_ns_.exchange(0);
  if (begin != 0) first_write_ns_ = monotonic_ns() - begin;
}

void LiveCapture::stored(const Snapshot& snapshot) noexcept {
  stored_ns_ = monotonic_ns() - snapshot.begin_ns;
  if (last_capture_ns_.exchange(0) != 0) first_write_ns_ = 2 * stored_ns_;  // none until now
}

LiveStats LiveCapture::stats() const noexcept {
  return {settle_ns_, fault_ns_, copied_bytes_, refused_};
}

}  // namespace flor
