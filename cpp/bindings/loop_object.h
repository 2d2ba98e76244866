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
#include <string>
#include <vector>

namespace flor::bindings {

class LogThread;
class NameCounts;
struct LoopObject;

// One loop of the source.
struct LoopSite {
  PyObject ob_base;
  vectorcallfunc call;
  PyObject* name;           // interned str
  PyObject* key;            // anything: how its maker finds it again
  std::uint64_t unwatched;  // the watch that does not care for it outside of all other loops
  bool suspends;            // in a generator: not active while that waits
  int counted;  // numbered with those of its name: 2; 1: directly inside an outermost loop; 0: no
  bool light;   // seen only there
};

struct LoopObject {
  PyObject ob_base;
  LoopSite* site;
  PyObject* iterable;  // until it begins
  PyObject* iterator;  // null: counts for ever
  PyObject* item;      // the last one, if it is a plain scalar
  PyObject* handler;
  PyFrameObject* frame;  // borrowed: it holds this loop. Only where the site suspends
  LogThread* owner;      // null: left, or its thread has ended
  // How often loops began in the iteration `children_index`: those of one name, and of the others.
  PyObject* child_name;  // borrowed
  std::uint32_t child_count;
  NameCounts* children;
  std::int64_t children_index;
  std::int64_t begun_ms;  // of a timed block
  std::int64_t index;     // of the iteration that runs; -1 before the first
  std::int64_t synced;    // the index that the thread's context knows
  std::uint64_t token;    // in the thread's ContextStack; 0: not entered
  std::uint32_t ordinal;
  bool plain;  // has an iterator, and nothing to do but to count its items
  bool finished, trained;
  bool finalized;
  bool blocks_timed;  // of the loops directly inside only the end is told
  bool timed;         // such a loop
  bool suspended;     // as of the last find_suspended()
  bool hidden;        // suspended, and the thread's context knows it
  bool skipped;       // no iteration has run since items were skipped
};

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

// Notes which loops belong to generators that wait: those whose frames are not on the stack.
void find_suspended(ThreadLoops& loops);

// Whether a loop that begins now is directly inside an outermost one.
bool may_be_block(ThreadLoops& loops);

// A loop begins: its number among those of its name, and its place in the thread.
void join(LogThread& thread, LoopObject& loop);
// It ends, or is dropped: it belongs to no thread from now on.
void leave(LoopObject& loop);
std::size_t depth_of(const ThreadLoops& loops);  // as of the last find_suspended()
std::string full_name(const LoopObject& loop);

// Brings the context of the calling thread up to date with its loops.
void sync_loops(LogThread& thread);

// A thread ends: its loops belong to nobody from now on. Without the GIL.
void orphan_loops(ThreadLoops& loops) noexcept;

// The thread is in no loop from now on, and has begun none. Needs the GIL.
void leave_all(ThreadLoops& loops) noexcept;

// LoopSite, Loop, set_loop_watcher, mark_training (loop_types.cc).
void add_loop_types(pybind11::module_& module);

}  // namespace flor::bindings
