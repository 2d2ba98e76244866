#include "snapshot/live_unit.h"

#include <cstring>

namespace flor {

LiveUnit::LiveUnit(Contract contract, std::size_t region, std::uint64_t first_chunk, Bytes live,
                   MutableBytes shadow, const WriteTracker* tracker)
    : contract_(contract),
      region_(region),
      first_chunk_(first_chunk),
      live_(live),
      shadow_(shadow),
      tracker_(tracker) {
  if (contract != Contract::kCooperative) {
    pages_ = whole_pages(live);
    const auto head = static_cast<std::size_t>(pages_.data() - live.data());
    head_.assign(live.begin(), live.begin() + static_cast<std::ptrdiff_t>(head));
    tail_.assign(live.begin() + static_cast<std::ptrdiff_t>(head + pages_.size()), live.end());
  } else {
    sample_ = sample_of(live);
  }
}

bool LiveUnit::leave_live(State next) noexcept {
  State expected = State::kLive;
  return state_.compare_exchange_strong(expected, next, std::memory_order_acq_rel);
}

LiveUnit::State LiveUnit::wait_closed() const noexcept {
  State now = state_.load(std::memory_order_acquire);
  while (now == State::kCopying) {
    state_.wait(now, std::memory_order_acquire);
    now = state_.load(std::memory_order_acquire);
  }
  return now;
}

bool LiveUnit::copy_first(bool checked) noexcept {
  if (!leave_live(State::kCopying)) {
    wait_closed();
    return false;
  }
  const bool whole = copy_to(shadow_) && (!checked || is_unwritten());
  state_.store(whole ? State::kCopied : State::kLost, std::memory_order_release);
  state_.notify_all();
  return whole;
}

std::optional<Bytes> LiveUnit::take(MutableBytes room) noexcept {
  if (state_.load(std::memory_order_acquire) == State::kLive) {
    const bool whole = copy_to(room) && is_unwritten();  // and was until now
    if (leave_live(whole ? State::kTaken : State::kLost))
      return whole ? std::optional<Bytes>(room) : std::nullopt;
  }
  if (wait_closed() == State::kCopied) return shadow_;
  return std::nullopt;
}

void LiveUnit::abandon() noexcept {
  if (!leave_live(State::kTaken)) wait_closed();
}

bool LiveUnit::is_unwritten() const noexcept {
  if (contract_ == Contract::kTracked) return pages_.empty() || tracker_->is_unwritten(pages_);
  return contract_ == Contract::kProtected || sample_live(live_) == sample_;
}

bool LiveUnit::copy_to(MutableBytes room) const noexcept {
  if (contract_ == Contract::kCooperative)
    return copy_live(room, live_.data()) && sample_of(room) == sample_;
  if (!head_.empty()) std::memcpy(room.data(), head_.data(), head_.size());
  if (!tail_.empty()) std::memcpy(&room[room.size() - tail_.size()], tail_.data(), tail_.size());
  return copy_live(room.subspan(head_.size(), pages_.size()), pages_.data());
}

}  // namespace flor
