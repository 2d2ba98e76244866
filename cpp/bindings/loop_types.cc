// The Python types of instrumented loops, and who watches them.
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <string>

#include "bindings/log_thread.h"
#include "bindings/loop_object.h"
#include "bindings/plain_method.h"

namespace py = pybind11;

namespace flor::bindings {

namespace {

PyObject* watcher = nullptr;
std::uint64_t watch = 1;  // changes with the watcher; a site that it does not care for keeps it
PyObject* text_iteration_ended = nullptr;
PyObject* text_ended = nullptr;
PyObject* text_block_ended = nullptr;
PyObject* empty_tuple = nullptr;
// Loops are made and dropped by the million: a few are kept.
constexpr std::size_t kFree = 16;
std::array<LoopObject*, kFree> free_loops;
std::size_t free_count = 0;

// A block is worth a word if it took this long, by a clock that is cheap and ticks in milliseconds.
constexpr std::int64_t kWorthMs = 2;

std::int64_t coarse_ms() noexcept {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec * 1000 + now.tv_nsec / 1'000'000;
}

// -- Loop -----------------------------------------------------------------------------------------

int loop_traverse(PyObject* object, visitproc visit, void* arg) {
  auto* self = reinterpret_cast<LoopObject*>(object);
  Py_VISIT(self->site);
  Py_VISIT(self->iterable);
  Py_VISIT(self->iterator);
  Py_VISIT(self->item);
  Py_VISIT(self->handler);
  return 0;
}

int loop_clear(PyObject* object) {
  auto* self = reinterpret_cast<LoopObject*>(object);
  Py_CLEAR(self->iterable);
  Py_CLEAR(self->iterator);
  Py_CLEAR(self->item);
  Py_CLEAR(self->handler);
  return 0;
}

bool tell_end(LoopObject* self, bool exhausted) {
  if (self->handler == nullptr) return true;
  PyObject* handler = self->handler;
  self->handler = nullptr;
  PyObject* arguments[] = {handler, reinterpret_cast<PyObject*>(self),
                           exhausted ? Py_True : Py_False};
  PyObject* told =
      PyObject_VectorcallMethod(text_ended, arguments, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, nullptr);
  Py_DECREF(handler);
  Py_XDECREF(told);
  return told != nullptr;
}

// The outermost loop of the calling thread.
LoopObject* outermost() {
  for (LoopObject* loop : this_log_thread().loops.active)
    if (!loop->suspended) return loop;
  return nullptr;
}

// A timed block came to its natural end.
bool tell_block_ended(LoopObject* self) {
  const bool worth = self->trained || self->synced >= 0 || coarse_ms() - self->begun_ms >= kWorthMs;
  LoopObject* outer = worth ? outermost() : nullptr;
  if (outer == nullptr || outer->handler == nullptr) return true;
  PyObject* told = PyObject_CallMethodOneArg(outer->handler, text_block_ended,
                                             reinterpret_cast<PyObject*>(self));
  Py_XDECREF(told);
  return told != nullptr;
}

// break, return or an exception: the interpreter drops the iterator.
void loop_finalize(PyObject* object) {
  auto* self = reinterpret_cast<LoopObject*>(object);
  self->finalized = true;
  PyObject *type = nullptr, *value = nullptr, *trace = nullptr;
  PyErr_Fetch(&type, &value, &trace);
  leave(*self);
  if (watcher != nullptr && !tell_end(self, false)) PyErr_WriteUnraisable(object);
  PyErr_Restore(type, value, trace);
}

void loop_dealloc(PyObject* object) {
  auto* self = reinterpret_cast<LoopObject*>(object);
  if (self->handler != nullptr && PyObject_CallFinalizerFromDealloc(object) < 0) return;
  leave(*self);
  if (self->site->suspends) PyObject_GC_UnTrack(object);
  loop_clear(object);
  Py_DECREF(self->site);
  // Python finalizes an object once: one that was can't serve another loop.
  if (!self->finalized && free_count < kFree) {
    free_loops[free_count++] = self;
    return;
  }
  delete self->children;
  PyObject_GC_Del(object);
}

bool is_scalar(PyObject* item) noexcept {
  return PyLong_CheckExact(item) || PyFloat_CheckExact(item) || PyUnicode_CheckExact(item) ||
         PyBool_Check(item);
}

PyObject* finish_loop(LoopObject* self) {
  if (PyErr_Occurred() != nullptr) {
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) return nullptr;
    PyErr_Clear();
  }
  self->finished = true;
  leave(*self);
  if (self->timed)
    tell_block_ended(self);
  else
    tell_end(self, true);
  return nullptr;
}

void keep(LoopObject* self, PyObject* item) {
  if (!is_scalar(item)) item = nullptr;
  Py_XINCREF(item);
  Py_XSETREF(self->item, item);
}

PyObject* advance(LoopObject* self) {
  self->plain = false;
  if (self->finished) return finish_loop(self);
  if (self->iterator == nullptr) {
    ++self->index;
    Py_INCREF(empty_tuple);
    return empty_tuple;
  }
  PyObject* item = (*Py_TYPE(self->iterator)->tp_iternext)(self->iterator);
  if (item == nullptr) return finish_loop(self);
  // The item goes with a record's context. Most loops never have one: kept are the first item, and
  // those of loops that somebody has asked for.
  const bool asked = self->synced >= 0 || self->handler != nullptr;
  if (++self->index == 0 || asked) keep(self, item);
  self->plain = !asked;
  return item;
}

PyObject* loop_next(PyObject* object) {
  auto* self = reinterpret_cast<LoopObject*>(object);
  if (self->plain) [[likely]] {
    PyObject* item = (*Py_TYPE(self->iterator)->tp_iternext)(self->iterator);
    if (item == nullptr) return finish_loop(self);
    ++self->index;
    return item;
  }
  const bool ran = self->index >= 0 && !self->finished && !self->skipped;
  self->skipped = false;
  if (self->handler != nullptr && ran) [[unlikely]] {
    PyObject* told = PyObject_CallMethodOneArg(self->handler, text_iteration_ended, object);
    if (told == nullptr) return nullptr;
    Py_DECREF(told);
  }
  return advance(self);
}

PyObject* loop_stop(PyObject* object, PyObject*) {
  auto* self = reinterpret_cast<LoopObject*>(object);
  self->finished = true;
  self->plain = false;
  Py_RETURN_NONE;
}

PyObject* loop_skip(PyObject* object, PyObject* count_object) {
  auto* self = reinterpret_cast<LoopObject*>(object);
  const long long count = PyLong_AsLongLong(count_object);
  if (count == -1 && PyErr_Occurred() != nullptr) return nullptr;
  if (self->iterator == nullptr && self->iterable != nullptr) {
    self->iterator = PyObject_GetIter(self->iterable);
    if (self->iterator == nullptr) return nullptr;
  }
  for (long long done = 0; done < count; ++done) {
    PyObject* item = advance(self);
    if (item == nullptr) return PyErr_Occurred() != nullptr ? nullptr : PyBool_FromLong(0);
    Py_DECREF(item);
  }
  self->skipped = true;
  self->plain = false;
  return PyBool_FromLong(1);
}

PyObject* get_name(PyObject* object, void*) {
  const std::string name = full_name(*reinterpret_cast<LoopObject*>(object));
  return PyUnicode_FromStringAndSize(name.data(), static_cast<Py_ssize_t>(name.size()));
}

PyObject* get_key(PyObject* object, void*) {
  PyObject* key = reinterpret_cast<LoopObject*>(object)->site->key;
  Py_INCREF(key);
  return key;
}

PyObject* get_iterable(PyObject* object, void*) {
  PyObject* iterable = reinterpret_cast<LoopObject*>(object)->iterable;
  if (iterable == nullptr) Py_RETURN_NONE;
  Py_INCREF(iterable);
  return iterable;
}

PyObject* get_depth(PyObject* object, void*) {
  auto* self = reinterpret_cast<LoopObject*>(object);
  if (self->owner == nullptr) return PyLong_FromLong(-1);
  if (self->owner == &this_log_thread()) find_suspended(self->owner->loops);
  const auto& active = self->owner->loops.active;
  const auto end = std::find(active.begin(), active.end(), self);
  return PyLong_FromLong(static_cast<long>(
      std::count_if(active.begin(), end, [](const LoopObject* loop) { return !loop->suspended; })));
}

PyObject* get_recorded(PyObject* object, void*) {
  return PyBool_FromLong(reinterpret_cast<LoopObject*>(object)->synced >= 0);
}

PyMemberDef loop_members[] = {{"index", T_LONGLONG, offsetof(LoopObject, index), READONLY,
                               "The iteration that runs; -1 before the first."},
                              {"trained", T_BOOL, offsetof(LoopObject, trained), READONLY,
                               "Whether mark_training() was called inside."},
                              {nullptr, 0, 0, 0, nullptr}};

PyGetSetDef loop_getset[] = {
    {"name", get_name, nullptr, "Its name in contexts, with its number (`epoch#2`).", nullptr},
    {"key", get_key, nullptr, "The key of its site.", nullptr},
    {"iterable", get_iterable, nullptr, "What it iterates, while it begins; else None.", nullptr},
    {"depth", get_depth, nullptr, "How many loops of its thread are around it.", nullptr},
    {"recorded", get_recorded, nullptr, "Whether something inside has asked for its context.",
     nullptr},
    {nullptr, nullptr, nullptr, nullptr, nullptr}};

PyMethodDef loop_methods[] = {
    {"stop", loop_stop, METH_NOARGS, "stop()\n\nLets the loop end at its natural end, now."},
    {"skip", loop_skip, METH_O,
     "skip(count) -> bool\n\nTakes items without running iterations; False where they ran out."},
    {nullptr, nullptr, 0, nullptr}};

PyTypeObject loop_type = [] {
  PyTypeObject type = {PyVarObject_HEAD_INIT(nullptr, 0)};
  type.tp_name = "flor._core.Loop";
  type.tp_doc = "An instrumented loop that runs: an iterator.";
  type.tp_basicsize = sizeof(LoopObject);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION;
  type.tp_dealloc = loop_dealloc;
  type.tp_traverse = loop_traverse;
  type.tp_clear = loop_clear;
  type.tp_finalize = loop_finalize;
  type.tp_iter = PyObject_SelfIter;
  type.tp_iternext = loop_next;
  type.tp_members = loop_members;
  type.tp_getset = loop_getset;
  type.tp_methods = loop_methods;
  return type;
}();

// -- LoopSite -------------------------------------------------------------------------------------

LoopObject* new_loop(LoopSite* site, PyObject* iterable) {
  LoopObject* loop = nullptr;
  if (free_count > 0) {
    loop = free_loops[--free_count];
    PyObject_Init(reinterpret_cast<PyObject*>(loop), &loop_type);
  } else {
    loop = PyObject_GC_New(LoopObject, &loop_type);
    if (loop == nullptr) return nullptr;
    loop->children = nullptr;
  }
  Py_INCREF(site);
  Py_XINCREF(iterable);
  loop->site = site;
  loop->iterable = iterable;
  loop->iterator = loop->item = loop->handler = nullptr;
  loop->frame = nullptr;
  loop->owner = nullptr;
  loop->children_index = -2;  // of no iteration: what is in `children` is of another loop
  loop->index = loop->synced = -1;
  loop->token = 0;
  loop->ordinal = 1;
  loop->plain = loop->finished = loop->trained = loop->skipped = false;
  loop->finalized = loop->blocks_timed = loop->timed = false;
  loop->suspended = loop->hidden = false;
  // Only the frame of a generator can be part of a cycle while it holds a loop.
  if (site->suspends) PyObject_GC_Track(reinterpret_cast<PyObject*>(loop));
  return loop;
}

void time_block(LoopObject* loop) {
  loop->timed = true;
  loop->begun_ms = coarse_ms();
}

// Asks the watcher where it cares; what it returns handles the loop, but for None and
// NotImplemented.
bool ask_watcher(LogThread& thread, LoopObject* loop) {
  const std::size_t depth = depth_of(thread.loops);
  if (depth > 2 || (depth == 1 && loop->site->unwatched == watch)) return true;
  LoopObject* outer = depth == 2 ? outermost() : nullptr;
  if (outer != nullptr && outer->handler == nullptr) return true;
  if (outer != nullptr && outer->blocks_timed) {
    time_block(loop);
    return true;
  }
  PyObject* asked = watcher;
  Py_INCREF(asked);
  PyObject* handler = PyObject_CallOneArg(asked, reinterpret_cast<PyObject*>(loop));
  Py_DECREF(asked);
  if (handler == nullptr) return false;
  if (handler == Py_NotImplemented) {
    if (outer == nullptr) loop->site->unwatched = watch;
    if (outer != nullptr) outer->blocks_timed = true;
    if (outer != nullptr) time_block(loop);
  }
  if (handler == Py_None || handler == Py_NotImplemented)
    Py_DECREF(handler);
  else
    loop->handler = handler;
  return true;
}

bool begin(LogThread& thread, LoopObject* loop) {
  join(thread, *loop);
  if (watcher != nullptr && !ask_watcher(thread, loop)) return false;
  if (loop->iterable == nullptr || loop->iterator != nullptr || loop->finished) {
    Py_CLEAR(loop->iterable);
    return true;
  }
  loop->iterator = PyObject_GetIter(loop->iterable);
  Py_CLEAR(loop->iterable);
  return loop->iterator != nullptr;
}

PyObject* site_call(PyObject* object, PyObject* const* arguments, std::size_t count, PyObject*) {
  PyObject* iterable = PyVectorcall_NARGS(count) == 0 ? nullptr : arguments[0];
  auto* site = reinterpret_cast<LoopSite*>(object);
  LogThread& thread = this_log_thread();
  if (site->light && iterable != nullptr && !may_be_block(thread.loops))
    return PyObject_GetIter(iterable);
  LoopObject* loop = new_loop(site, iterable);
  if (loop == nullptr) return nullptr;
  if (!begin(thread, loop)) {
    Py_DECREF(loop);
    return nullptr;
  }
  return reinterpret_cast<PyObject*>(loop);
}

// The condition of a `while` is false: the innermost loop of this site, in this frame, ends.
PyObject* site_finish(PyObject* object, PyObject*) {
  auto* site = reinterpret_cast<LoopSite*>(object);
  PyFrameObject* frame = site->suspends ? PyEval_GetFrame() : nullptr;
  auto& active = this_log_thread().loops.active;
  for (auto it = active.rbegin(); it != active.rend(); ++it)
    if ((*it)->site == site && (*it)->frame == frame) {
      (*it)->finished = true;
      (*it)->plain = false;
      --(*it)->index;  // the iteration that it would have been
      break;
    }
  Py_RETURN_NONE;
}

PyObject* site_new(PyTypeObject* type, PyObject* arguments, PyObject* keywords) {
  static const char* names[] = {"name", "key", "suspends", "counted", "light", nullptr};
  PyObject *name = nullptr, *key = Py_None;
  int suspends = 0, counted = 2, light = 0;
  if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "U|Opip", const_cast<char**>(names), &name,
                                   &key, &suspends, &counted, &light))
    return nullptr;
  auto* self = reinterpret_cast<LoopSite*>(type->tp_alloc(type, 0));
  if (self == nullptr) return nullptr;
  Py_INCREF(name);
  PyUnicode_InternInPlace(&name);
  Py_INCREF(key);
  self->call = site_call;
  self->unwatched = 0;
  self->name = name;
  self->key = key;
  self->suspends = suspends != 0;
  self->counted = counted;
  self->light = light != 0;
  return reinterpret_cast<PyObject*>(self);
}

void site_dealloc(PyObject* object) {
  auto* self = reinterpret_cast<LoopSite*>(object);
  Py_XDECREF(self->key);  // the name stays: it is interned, and counts compare it by address
  Py_TYPE(object)->tp_free(object);
}

PyMethodDef site_methods[] = {
    {"finish", site_finish, METH_NOARGS,
     "finish()\n\nEnds the innermost loop of this site: the condition of its `while` is false."},
    {nullptr, nullptr, 0, nullptr}};

PyMemberDef site_members[] = {
    {"name", T_OBJECT_EX, offsetof(LoopSite, name), READONLY, "The loop's name."},
    {"key", T_OBJECT_EX, offsetof(LoopSite, key), READONLY, "What it was made with."},
    {nullptr, 0, 0, 0, nullptr}};

PyTypeObject site_type = [] {
  PyTypeObject type = {PyVarObject_HEAD_INIT(nullptr, 0)};
  type.tp_name = "flor._core.LoopSite";
  type.tp_doc =
      "LoopSite(name, key=None, suspends=False, counted=2, light=False)\n\n"
      "A loop of the source: called with an iterable, or without one for a `while`, it returns the "
      "iterator to loop over.\n\nsuspends: it stands in a generator. counted: 2: its loops are "
      "numbered with the others of their name; 1: only\nthose directly inside an outermost loop; "
      "0: "
      "none, they are there for a probe. light: only those directly inside\nan outermost loop are "
      "seen, the others are the iterators that they would be without flor.";
  type.tp_basicsize = sizeof(LoopSite);
  type.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL;
  type.tp_new = site_new;
  type.tp_dealloc = site_dealloc;
  type.tp_call = PyVectorcall_Call;
  type.tp_vectorcall_offset = offsetof(LoopSite, call);
  type.tp_methods = site_methods;
  type.tp_members = site_members;
  return type;
}();

// -- module ---------------------------------------------------------------------------------------

PyObject* set_watcher(PyObject*, PyObject* callable) {
  PyObject* old = watcher;
  watcher = callable == Py_None ? nullptr : callable;
  ++watch;
  Py_XINCREF(watcher);
  Py_XDECREF(old);
  Py_RETURN_NONE;
}

PyObject* loops_begun(PyObject*, PyObject* name) {
  if (!PyUnicode_CheckExact(name)) {
    PyErr_SetString(PyExc_TypeError, "the name of a loop must be a str");
    return nullptr;
  }
  Py_INCREF(name);
  PyUnicode_InternInPlace(&name);
  const std::uint32_t count = this_log_thread().loops.top_level.count(name);
  Py_DECREF(name);
  return PyLong_FromUnsignedLong(count);
}

PyObject* mark_training(PyObject*, PyObject* const*, Py_ssize_t) {
  ThreadLoops& loops = this_log_thread().loops;
  find_suspended(loops);
  for (LoopObject* loop : loops.active)
    if (!loop->suspended) loop->trained = true;
  Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"set_loop_watcher", set_watcher, METH_O,
     "set_loop_watcher(watcher)\n\nwatcher(loop) is called when a loop begins outside of all "
     "others, or directly in\none with a handler. It returns None or a handler: "
     "iteration_ended(loop), ended(loop, exhausted).\nNotImplemented: it need not be asked again: "
     "about loops of that site outside of all others,\nuntil a watcher is set; about loops in "
     "the one with a handler, whose block_ended(loop) is\ncalled instead at the natural end of "
     "those that trained, were recorded or took over 2 ms."},
    {"loops_begun", loops_begun, METH_O,
     "loops_begun(name) -> int\n\nHow many loops of that name began in the calling thread outside "
     "of all others."},
    {"mark_training", as_method(mark_training), METH_FASTCALL,
     "mark_training(*ignored)\n\nMarks the calling thread's loops as containing a training step. A "
     "hook for optimizers."},
    {nullptr, nullptr, 0, nullptr}};

}  // namespace

void add_loop_types(py::module_& module) {
  text_iteration_ended = PyUnicode_InternFromString("iteration_ended");
  text_ended = PyUnicode_InternFromString("ended");
  text_block_ended = PyUnicode_InternFromString("block_ended");
  empty_tuple = PyTuple_New(0);
  if (PyType_Ready(&loop_type) != 0 || PyType_Ready(&site_type) != 0 ||
      PyModule_AddObjectRef(module.ptr(), "Loop", reinterpret_cast<PyObject*>(&loop_type)) != 0 ||
      PyModule_AddObjectRef(module.ptr(), "LoopSite", reinterpret_cast<PyObject*>(&site_type)) !=
          0 ||
      PyModule_AddFunctions(module.ptr(), functions) != 0)
    throw py::error_already_set();
}

}  // namespace flor::bindings
