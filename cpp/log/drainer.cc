#include "log/drainer.h"

#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <exception>

#include "base/clock.h"

namespace flor {
namespace {

constexpr int kNice = 10;

// Blocks all signals while in scope: a thread started meanwhile inherits that, so the program's
// handlers never run on it.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

void lower_own_priority() noexcept {
  pthread_setname_np(pthread_self(), "flor-log");
  // On Linux this sets the nice value of one thread. Without the right to, it stays as it was.
  (void)setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
}

// What the thread can catch without an Error of its own: memory, above all.
Error current_failure() noexcept {
  try {
    throw;
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return Error(ErrorKind::kIo, std::string("the log writer failed: ") + error.what());
  }
}

}  // namespace

void Drainer::start() {
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

void Drainer::add(Producer& producer) {
  const std::lock_guard lock(mutex_);
  if (stopping_) throw Error(ErrorKind::kClosed, "the log writer is closed");
  if (!thread_.joinable()) start();
  added_.push_back(&producer);
}

void Drainer::flush() {
  std::unique_lock lock(mutex_);
  if (!thread_.joinable() || stopping_) return;
  const std::uint64_t mine = ++requested_;
  state_.bell.ring();
  served_changed_.wait(lock, [&] { return served_ >= mine; });
  if (last_) throw Error(*last_);
}

std::optional<Error> Drainer::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (!thread_.joinable()) return std::nullopt;
    ++requested_;
  }
  state_.bell.ring();
  thread_.join();
  const std::lock_guard lock(mutex_);
  return last_;
}

std::optional<Error> Drainer::error() const {
  const std::lock_guard lock(mutex_);
  return first_;
}

void Drainer::run() noexcept {
  lower_own_priority();
  bool failing = false;
  for (bool last = false; !last;) {
    state_.bell.wait(failing ? kRetry : kTick);
    std::uint64_t ticket = 0;
    bool all = false;
    {
      const std::lock_guard lock(mutex_);
      for (Producer* producer : added_) sources_.push_back({producer, false, 0});
      added_.clear();
      ticket = requested_;
      all = ticket > served_;
      last = stopping_;
    }
    const std::optional<Error> failure = pass(all);
    failing = failure.has_value();
    finish_pass(failure, ticket, all);
  }
  state_.value.store(DrainState::kGone, std::memory_order_release);
}

void Drainer::finish_pass(const std::optional<Error>& failure, std::uint64_t ticket,
                          bool all) noexcept {
  state_.value.store(failure ? DrainState::kFailing : DrainState::kWorking,
                     std::memory_order_release);
  const std::lock_guard lock(mutex_);
  if (failure && !first_) first_ = failure;
  if (!all) return;
  served_ = ticket;
  last_ = failure;
  served_changed_.notify_all();
}

std::optional<Error> Drainer::pass(bool everything) noexcept {
  std::optional<Error> failure;
  for (Source& source : sources_) {
    try {
      drain(source, everything);
    } catch (...) {
      if (!failure) failure = current_failure();
    }
  }
  try {
    if (everything) segments_.sync();
  } catch (...) {
    if (!failure) failure = current_failure();
  }
  return failure;
}

bool Drainer::due(Source& source, std::size_t bytes, bool everything) const noexcept {
  if (bytes == 0) {
    source.waiting_since_ns = 0;
    return false;
  }
  if (everything || bytes >= source.producer->ring().capacity() / 8) return true;
  const std::int64_t now = monotonic_ns();
  if (source.waiting_since_ns == 0) source.waiting_since_ns = now;
  return now - source.waiting_since_ns >= std::chrono::nanoseconds(kMaxAge).count();
}

void Drainer::drain(Source& source, bool everything) {
  Ring& ring = source.producer->ring();
  if (source.damaged)
    throw Error(ErrorKind::kCorrupt, "a log ring was overwritten in memory; it is drained no more",
                ring.path());
  // What arrives meanwhile is left to the next pass: a fast producer must not keep the others
  // waiting.
  std::size_t left = ring.readable().size();
  if (!due(source, left, everything)) return;
  while (left > 0) {
    block_.clear();
    const std::size_t taken = fill_block(source, ring.readable().first(left));
    if (!block_.empty()) segments_.append(block_, source.producer->ring_id());
    ring.release(taken);
    left -= taken;
    if (source.damaged) break;
  }
  source.waiting_since_ns = 0;
}

// Takes whole frames until the block is large enough; stops before a frame that is damaged.
std::size_t Drainer::fill_block(Source& source, Bytes readable) {
  Ring& ring = source.producer->ring();
  std::size_t taken = 0;
  Frame frame;
  while (taken < readable.size() && block_.raw_bytes() < kBlockBytes) {
    if (read_frame(readable.subspan(taken), ring.read_position() + taken, frame) !=
        FrameStatus::kOk) {
      source.damaged = true;
      break;
    }
    block_.add(frame);
    taken += frame.size;
  }
  return taken;
}

}  // namespace flor
