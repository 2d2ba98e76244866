#define PY_SSIZE_T_CLEAN
#include "bindings/loop_object.h"

#include <algorithm>
#include <mutex>
#include <string>

#include "bindings/log_thread.h"

namespace flor::bindings {
namespace {

std::mutex owners;  // guards LoopObject::owner against a thread that ends without the GIL

LoopObject* innermost(const ThreadLoops& loops) {
  for (auto it = loops.active.rbegin(); it != loops.active.rend(); ++it)
    if (!(*it)->suspended) return *it;
  return nullptr;
}

// JSON of a plain scalar, empty for others. Never raises.
std::string scalar_text(PyObject* item) {
  if (item == nullptr) return {};
  static PyObject* dumps = nullptr;
  if (dumps == nullptr) {
    PyObject* json = PyImport_ImportModule("json");
    if (json != nullptr) dumps = PyObject_GetAttrString(json, "dumps");
    Py_XDECREF(json);
  }
  PyObject* text = dumps == nullptr ? nullptr : PyObject_CallOneArg(dumps, item);
  std::string out;
  Py_ssize_t size = 0;
  const char* bytes = text == nullptr ? nullptr : PyUnicode_AsUTF8AndSize(text, &size);
  if (bytes != nullptr && size <= 1024) out.assign(bytes, static_cast<std::size_t>(size));
  Py_XDECREF(text);
  PyErr_Clear();
  return out;
}

// A loop begins in an iteration of another one; returns its number among those of its name.
std::uint32_t number_in(LoopObject& parent, const LoopSite& site, bool counted) {
  if (parent.children_index != parent.index) {
    parent.children_index = parent.index;
    parent.child_name = nullptr;
    if (parent.children != nullptr) parent.children->clear();
  }
  if (parent.child_name == nullptr && counted) {
    parent.child_name = site.name;
    parent.child_count = 0;
  }
  if (parent.child_name == site.name) {
    if (!counted) return parent.child_count + 1;
    return ++parent.child_count;
  }
  if (parent.children == nullptr) parent.children = new NameCounts;
  const std::uint32_t ordinal = parent.children->count(site.name) + 1;
  if (counted) parent.children->add(site.name);
  return ordinal;
}

std::uint32_t number(LogThread& thread, const LoopSite& site) {
  if (LoopObject* parent = innermost(thread.loops)) {
    const bool counted = site.counted == 2 || (site.counted == 1 && depth_of(thread.loops) == 1);
    return number_in(*parent, site, counted);
  }
  ThreadLoops& loops = thread.loops;
  if (loops.counts_generation != active_log().activations) {
    loops.top_level.clear();
    loops.counts_generation = active_log().activations;
  }
  const std::uint32_t ordinal = loops.top_level.count(site.name) + 1;
  if (site.counted == 2) loops.top_level.add(site.name);
  return ordinal;
}

}  // namespace

// Frames are compared by address only: one that is being cleared may be gone before its loop is.
void find_suspended(ThreadLoops& loops) {
  if (loops.suspending == 0) return;
  std::size_t missing = 0;
  for (LoopObject* loop : loops.active) {
    loop->suspended = loop->site->suspends;
    if (loop->suspended) ++missing;
  }
  PyFrameObject* frame = PyEval_GetFrame();
  Py_XINCREF(frame);
  while (frame != nullptr && missing > 0) {
    for (LoopObject* loop : loops.active)
      if (loop->suspended && loop->frame == frame) {
        loop->suspended = false;
        --missing;
      }
    PyFrameObject* back = PyFrame_GetBack(frame);
    Py_DECREF(frame);
    frame = back;
  }
  Py_XDECREF(frame);
}

bool may_be_block(ThreadLoops& loops) {
  if (loops.active.empty()) return false;
  find_suspended(loops);
  return depth_of(loops) == 1;
}

std::size_t depth_of(const ThreadLoops& loops) {
  if (loops.suspending == 0) return loops.active.size();
  return static_cast<std::size_t>(
      std::count_if(loops.active.begin(), loops.active.end(),
                    [](const LoopObject* loop) { return !loop->suspended; }));
}

std::string full_name(const LoopObject& loop) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(loop.site->name, &size);
  std::string name(text == nullptr ? "loop" : text,
                   text == nullptr ? 4 : static_cast<std::size_t>(size));
  if (loop.ordinal > 1) name += "#" + std::to_string(loop.ordinal);
  return name;
}

void join(LogThread& thread, LoopObject& loop) {
  find_suspended(thread.loops);
  if (loop.site->suspends) loop.frame = PyEval_GetFrame();
  loop.ordinal = number(thread, *loop.site);
  loop.owner = &thread;
  thread.loops.active.push_back(&loop);
  if (loop.site->suspends) ++thread.loops.suspending;
}

void leave(LoopObject& loop) {
  if (loop.owner == nullptr) return;
  // Its own thread can't end meanwhile.
  std::unique_lock<std::mutex> lock(owners, std::defer_lock);
  if (loop.owner != &this_log_thread()) lock.lock();
  if (loop.owner == nullptr) return;
  auto& active = loop.owner->loops.active;
  if (!active.empty() && active.back() == &loop)
    active.pop_back();
  else
    active.erase(std::remove(active.begin(), active.end(), &loop), active.end());
  if (loop.site->suspends) --loop.owner->loops.suspending;
  if (loop.token != 0) loop.owner->contexts.leave(loop.token);
  loop.owner = nullptr;
}

std::uint32_t NameCounts::count(PyObject* name) const noexcept {
  for (const auto& [known, count] : counts_)
    if (known == name) return count;
  return 0;
}

void NameCounts::add(PyObject* name) {
  for (auto& [known, count] : counts_)
    if (known == name) {
      ++count;
      return;
    }
  counts_.emplace_back(name, 1);
}

void sync_loops(LogThread& thread) {
  find_suspended(thread.loops);
  for (LoopObject* loop : thread.loops.active) {
    if (loop->site->suspends) {
      const bool hidden = loop->suspended;
      if (hidden && loop->token == 0) continue;
      if (hidden != loop->hidden) thread.contexts.hide(loop->token, hidden);
      loop->hidden = hidden;
    }
    if (loop->token == 0) loop->token = thread.contexts.enter_as(full_name(*loop));
    if (loop->synced == loop->index) continue;  // before the first iteration too
    const bool known = loop->index == 0 || loop->synced >= 0 || loop->handler != nullptr;
    thread.contexts.step(loop->token, loop->index, scalar_text(known ? loop->item : nullptr));
    loop->synced = loop->index;
    loop->plain = false;  // from now on its items are kept
  }
}

void orphan_loops(ThreadLoops& loops) noexcept {
  const std::lock_guard lock(owners);
  for (LoopObject* loop : loops.active) loop->owner = nullptr;
}

void leave_all(ThreadLoops& loops) noexcept {
  orphan_loops(loops);
  loops.active.clear();
  loops.top_level.clear();
  loops.suspending = 0;
}

}  // namespace flor::bindings
