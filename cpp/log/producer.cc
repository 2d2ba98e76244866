#include "log/producer.h"

#include <sched.h>

#include <thread>

#include "base/clock.h"

namespace flor {
namespace {

// Only the owning thread writes a counter, so no locked instruction is needed.
void bump(std::atomic<std::uint64_t>& counter, std::uint64_t by = 1) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

}  // namespace

Producer::Outcome Producer::write(const FrameFields& fields, Bytes payload) noexcept {
  const std::size_t size = frame_size(payload.size());
  std::byte* at = ring_->reserve(size);
  if (at == nullptr) [[unlikely]]
    return Outcome::kFull;
  write_frame(at, ring_->write_position(), fields, payload);
  if (ring_->commit(size)) [[unlikely]]
    state_.bell.ring();
  return Outcome::kLogged;
}

Producer::Outcome Producer::try_log(std::uint8_t kind, std::uint32_t name, std::uint32_t context,
                                    Bytes payload) noexcept {
  if (payload.size() > max_payload_) [[unlikely]]
    return Outcome::kTooLarge;
  const Outcome outcome = write({kind, name, context, next_seq_, unix_ns()}, payload);
  if (outcome == Outcome::kLogged) [[likely]] {
    ++next_seq_;
    bump(counters_.records);
  }
  return outcome;
}

Producer::Outcome Producer::name_id(std::string_view name, std::uint32_t& id) noexcept {
  if (const auto found = names_.find(name); found != names_.end()) {
    id = found->second;
    return Outcome::kLogged;
  }
  if (name.size() > kMaxNameBytes || name.size() > max_payload_) return Outcome::kTooLarge;
  if (names_.size() >= kMaxNameId) return Outcome::kTooManyIds;
  const auto next = static_cast<std::uint32_t>(names_.size() + 1);
  const Outcome outcome = write({kNameFrame, next, 0, 0, 0}, as_bytes(name));
  if (outcome != Outcome::kLogged) return outcome;
  names_.emplace(name, next);
  id = next;
  return Outcome::kLogged;
}

Producer::Outcome Producer::define_context(std::uint32_t parent, std::uint32_t loop,
                                           std::int64_t index, std::string_view value,
                                           std::uint32_t& id) noexcept {
  if (value.size() > max_payload_) return Outcome::kTooLarge;
  if (next_context_ == 0) return Outcome::kTooManyIds;  // 2^32 were given out
  const Outcome outcome =
      write({kContextFrame, loop, parent, next_context_, index}, as_bytes(value));
  if (outcome == Outcome::kLogged) id = next_context_++;
  return outcome;
}

bool Producer::wait_for_space(std::size_t payload_bytes, std::chrono::milliseconds slice) noexcept {
  const std::size_t size = frame_size(payload_bytes);
  const std::int64_t start = monotonic_ns(), end = start + std::chrono::nanoseconds(slice).count();
  bump(counters_.waits);
  bool room = false, working = true;
  std::int64_t now = start;
  for (int round = 0; now < end; ++round, now = monotonic_ns()) {
    room = ring_->reserve(size) != nullptr;
    working = state_.value.load(std::memory_order_acquire) == DrainState::kWorking;
    if (room || !working) break;
    state_.bell.ring();
    if (round < 8)
      ::sched_yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  bump(counters_.wait_ns, static_cast<std::uint64_t>(monotonic_ns() - start));
  return room || working;
}

void Producer::drop() noexcept {
  ++next_seq_;
  bump(counters_.lost);
}

}  // namespace flor
