// Loops of instrumented programs: `for x in E` becomes `for x in site(E)`, `while C` a `for` over
// site() that is finished when C is false.
//
// An iteration costs one more call and an increment: nothing else is written down before somebody
// asks where the thread is (a record, a boundary), when sync_loops() brings the thread's context up
// to date. Two kinds of loops are told to a watcher as they begin: those outside of all others, and
// those directly inside one that the watcher chose to handle.
//
// Thread-safety: everything needs the GIL. A loop belongs to the thread that began it; it may be
// dropped by another one, or outlive its thread.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <vector>

namespace flor::bindings {

class LogThread;
struct LoopObject;

// How often loops of one name began; few names, compared by address (they are interned).
class NameCounts {
 public:
  std::uint32_t count(PyObject* name) const noexcept;
  void add(PyObject* name);
  void clear() noexcept { counts_.clear(); }

 private:
  std::vector<std::pair<PyObject*, std::uint32_t>> counts_;  // borrowed: sites hold their names
};

// The instrumented loops that a thread is in, outermost first.
struct ThreadLoops {
  std::vector<LoopObject*> active;  // borrowed
  NameCounts top_level;
  std::uint64_t counts_generation = 0;
  std::size_t suspending = 0;  // how many of them belong to generators
};

// Brings the context of the calling thread up to date with its loops.
void sync_loops(LogThread& thread);

// A thread ends: its loops belong to nobody from now on. Without the GIL.
void orphan_loops(ThreadLoops& loops) noexcept;

// LoopSite, Loop, set_loop_watcher, mark_training.
void add_loop_types(pybind11::module_& module);

}  // namespace flor::bindings
