#include "bindings/log_thread.h"

#include <pthread.h>

#include <algorithm>

#include "bindings/errors.h"

namespace flor::bindings {
namespace {

// How long a wait for ring space goes on before signals (Ctrl-C) are looked at.
constexpr std::chrono::milliseconds kWaitSlice{50};

// Read on every call: initial-exec spares the call that a thread_local of a shared object costs
// otherwise.
__attribute__((tls_model("initial-exec"))) thread_local constinit LogThread* current_thread =
    nullptr;

LogThread& make_thread() {
  thread_local LogThread thread;
  return thread;
}

void after_fork_in_child() noexcept { ++active_log().generation; }

}  // namespace

Lane& PyWriter::lane(Producer& producer) {
  auto& lane = lanes_[&producer];
  if (!lane) lane = std::make_unique<Lane>(producer);
  return *lane;
}

void PyWriter::clear_caches() noexcept {
  for (auto& [producer, lane] : lanes_) lane->names.clear();
}

LogThread::LogThread() { current_thread = this; }

LogThread::~LogThread() {
  current_thread = nullptr;
  orphan_loops(loops);
  for (Lease& lease : leases_) lease.writer->log.release(&lease.lane->producer);
}

Lane& LogThread::lane_of(const std::shared_ptr<PyWriter>& writer) {
  for (Lease& lease : leases_)
    if (lease.writer == writer) return *lease.lane;
  leases_.erase(std::remove_if(leases_.begin(), leases_.end(),
                               [](const Lease& lease) { return !lease.writer->log.usable(); }),
                leases_.end());
  Lane& lane = writer->lane(*writer->log.acquire());
  leases_.push_back({writer, &lane});
  return lane;
}

LogThread& this_log_thread() {
  if (current_thread != nullptr) [[likely]]
    return *current_thread;
  return make_thread();
}

ActiveLog& active_log() {
  static ActiveLog* active = [] {
    pthread_atfork(nullptr, nullptr, after_fork_in_child);
    return new ActiveLog;
  }();
  return *active;
}

void attach(LogThread& thread) {
  const ActiveLog& active = active_log();
  thread.active = nullptr;
  thread.contexts.forget_ids();
  if (active.writer && active.writer->log.usable()) thread.active = &thread.lane_of(active.writer);
  thread.generation = active.generation;
}

Written wait_once(Lane& lane, const LogWriter* explicit_writer, std::size_t payload_bytes) {
  const std::uint64_t generation = active_log().generation;
  bool go_on = false;
  Py_BEGIN_ALLOW_THREADS go_on = lane.producer.wait_for_space(payload_bytes, kWaitSlice);
  Py_END_ALLOW_THREADS if (PyErr_CheckSignals() != 0) return Written::kRaised;
  const bool closed =
      explicit_writer ? !explicit_writer->usable() : active_log().generation != generation;
  if (closed) {
    set_error(
        Error(ErrorKind::kClosed, "the log writer was closed while this call waited for space"));
    return Written::kRaised;
  }
  if (go_on) return Written::kYes;
  lane.producer.drop();
  return Written::kDropped;
}

void raise_outcome(Producer::Outcome outcome, std::size_t limit_bytes) {
  if (outcome == Producer::Outcome::kTooManyIds) {
    set_error(Error(ErrorKind::kInvalid,
                    "more than 16777215 names or 4294967295 iterations in one thread"));
    return;
  }
  set_error(Error(ErrorKind::kInvalid,
                  "a name may have 4096 bytes, a value or an iteration's value " +
                      std::to_string(limit_bytes) +
                      " (a quarter of ring_bytes); store larger values by reference"));
}

}  // namespace flor::bindings
