// Which producer a Python thread logs through, and the loops it is in.
//
// A PyWriter is what the Python class LogWriter holds. A thread gets a Lane of it (a producer with
// the caches that go with its ids) the first time it logs there, and gives the producer back when
// it ends, without the GIL and without touching a Python object: the caches keep their references
// for the next thread.
//
// Thread-safety: everything here needs the GIL, but for the destructor of LogThread. A LogThread
// belongs to its thread.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bindings/loop_object.h"
#include "log/context_stack.h"
#include "log/log_writer.h"

namespace flor::bindings {

// Payloads above this go through the slow path, which may put them into the content store.
inline constexpr std::size_t kInlineBytes = std::size_t{64} << 10;

// Ids of names by the address of the str: most calls log one of a few literals. Holds a reference
// to each str in it, so an address can't come to mean another name.
class NameCache {
 public:
  struct Slot {
    PyObject* name = nullptr;
    std::uint32_t id = 0;
  };
  Slot& slot(PyObject* name) noexcept {
    const auto address = reinterpret_cast<std::uintptr_t>(name);
    return slots_[((address >> 4) ^ (address >> 13)) % kSlots];
  }
  static void fill(Slot& slot, PyObject* name, std::uint32_t id) noexcept {
    Py_INCREF(name);
    Py_XDECREF(slot.name);
    slot = {name, id};
  }
  void clear() noexcept {
    for (Slot& slot : slots_) Py_CLEAR(slot.name);
  }

 private:
  static constexpr std::size_t kSlots = 512;
  std::array<Slot, kSlots> slots_{};
};

struct Lane {
  explicit Lane(Producer& producer_of) noexcept : producer(producer_of) {}
  Producer& producer;
  NameCache names;
  std::unordered_map<std::string, std::uint32_t> contexts;  // of explicit-context calls
};

class PyWriter {
 public:
  PyWriter(const std::string& directory, const std::string& writer, const LogOptions& options)
      : log(directory, writer, options) {}
  Lane& lane(Producer& producer);
  void clear_caches() noexcept;

  LogWriter log;

 private:
  std::unordered_map<Producer*, std::unique_ptr<Lane>> lanes_;
};

class LogThread {
 public:
  LogThread();
  ~LogThread();
  LogThread(const LogThread&) = delete;
  LogThread& operator=(const LogThread&) = delete;

  // This thread's lane of a writer. Throws as LogWriter::acquire.
  Lane& lane_of(const std::shared_ptr<PyWriter>& writer);

  std::uint64_t generation = 0;  // of the active writer that `active` belongs to
  std::uint64_t counts_generation = 0;
  Lane* active = nullptr;  // null: no active writer
  ContextStack contexts;
  ThreadLoops loops;  // of instrumented programs

 private:
  struct Lease {
    std::shared_ptr<PyWriter> writer;
    Lane* lane;
  };
  std::vector<Lease> leases_;
};

LogThread& this_log_thread();

// The process-wide active writer.
struct ActiveLog {
  std::uint64_t generation = 1;      // changes with every set_active of another run, close and fork
  std::uint64_t activations = 1;     // changes with every set_active of another run
  std::shared_ptr<PyWriter> writer;  // null: none
  PyObject* object = nullptr;        // the Python object of `writer`, a strong reference
  PyObject* slow_path = nullptr;     // a strong reference, or null
};
// Never destroyed: threads may log while the process ends.
ActiveLog& active_log();

// Makes `thread.active` the lane of the active writer, null when there is none that is open and
// this process's own. Throws as LogWriter::acquire.
void attach(LogThread& thread);

// How a record ended.
enum class Written { kYes, kDropped, kRaised };

// Calls `attempt` (returning Producer::Outcome) until it does not say kFull; waits without the GIL.
// kDropped: given up and counted. kRaised: a Python error is set (signal, closed meanwhile, too
// large).
template <typename Attempt>
Written write_waiting(Lane& lane, const LogWriter* explicit_writer, std::size_t payload_bytes,
                      Attempt attempt);

// One wait of write_waiting. kYes: try again.
Written wait_once(Lane& lane, const LogWriter* explicit_writer, std::size_t payload_bytes);
void raise_outcome(Producer::Outcome outcome, std::size_t limit_bytes);

template <typename Attempt>
Written write_waiting(Lane& lane, const LogWriter* explicit_writer, std::size_t payload_bytes,
                      Attempt attempt) {
  for (;;) {
    const Producer::Outcome outcome = attempt();
    if (outcome == Producer::Outcome::kLogged) [[likely]]
      return Written::kYes;
    if (outcome != Producer::Outcome::kFull) {
      raise_outcome(outcome, lane.producer.max_payload_bytes());
      return Written::kRaised;
    }
    if (const Written waited = wait_once(lane, explicit_writer, payload_bytes);
        waited != Written::kYes)
      return waited;
  }
}

}  // namespace flor::bindings
