#include "bindings/log_calls.h"

#include "bindings/buffer_view.h"
#include "bindings/errors.h"
#include "bindings/log_contexts.h"
#include "bindings/log_value.h"
#include "bindings/plain_method.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

// Nothing here is noexcept: a daemon thread that wants the GIL while the interpreter ends is ended
// by Python through unwinding its stack, and a noexcept frame on it would abort the process.

PyObject* new_reference(PyObject* object) {
  Py_INCREF(object);
  return object;
}

PyObject* slow(PyObject* name, PyObject* value) {
  PyObject* path = active_log().slow_path;
  if (path == nullptr) return new_reference(value);
  Py_INCREF(path);  // the call may replace it
  PyObject* arguments[] = {name, value};
  PyObject* result = PyObject_Vectorcall(path, arguments, 2, nullptr);
  Py_DECREF(path);
  if (result == nullptr) return nullptr;
  Py_DECREF(result);
  return new_reference(value);
}

// The calling thread's lane of the active writer: null with no error when there is none.
inline bool active_lane(LogThread& thread, Lane*& lane) {
  if (thread.generation != active_log().generation) [[unlikely]]
    if (!guarded([&] { attach(thread); })) return false;
  lane = thread.active;
  return true;
}

Written find_new_name(Lane& lane, const LogWriter* explicit_writer, PyObject* name,
                      std::uint32_t& id) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(name, &size);
  if (text == nullptr) return Written::kRaised;
  const std::string_view view(text, static_cast<std::size_t>(size));
  const Written written = write_waiting(lane, explicit_writer, view.size(),
                                        [&] { return lane.producer.name_id(view, id); });
  if (written == Written::kYes) NameCache::fill(lane.names.slot(name), name, id);
  return written;
}

// Name, context and record, in the thread's current context.
Written write_current(LogThread& thread, Lane& lane, PyObject* name, std::uint8_t kind,
                      Bytes payload) {
  std::uint32_t name_id = 0, context = 0;
  if (const Written written = find_name(lane, nullptr, name, name_id); written != Written::kYes)
      [[unlikely]]
    return written;
  if (!thread.loops.active.empty()) sync_loops(thread);
  auto outcome = thread.contexts.current(lane.producer, context);
  if (outcome != Producer::Outcome::kLogged) [[unlikely]] {
    const Written written = write_waiting(lane, nullptr, thread.contexts.largest_definition(), [&] {
      return thread.contexts.current(lane.producer, context);
    });
    if (written != Written::kYes) return written;
  }
  outcome = lane.producer.try_log(kind, name_id, context, payload);
  if (outcome == Producer::Outcome::kLogged) [[likely]]
    return Written::kYes;
  return write_waiting(lane, nullptr, payload.size(),
                       [&] { return lane.producer.try_log(kind, name_id, context, payload); });
}

constexpr const char kLogDoc[] =
    "log(name, value) -> value\n\n"
    "Logs to the active writer in the calling thread's context and returns the value. What it does "
    "not take\n"
    "itself (other types, large payloads, no active writer) goes to the slow path.";

PyObject* log_call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 2) {
    PyErr_Format(PyExc_TypeError, "log() takes a name and a value (%zd given)", count);
    return nullptr;
  }
  PyObject* const name = arguments[0];
  PyObject* const value = arguments[1];
  LogThread& thread = this_log_thread();
  Lane* lane = nullptr;
  if (!active_lane(thread, lane)) return nullptr;
  EncodedValue encoded;
  if (lane == nullptr || !PyUnicode_CheckExact(name) || !encode_exact(value, encoded))
    return slow(name, value);
  if (encoded.payload.size() > 8 &&
      encoded.payload.size() > std::min(kInlineBytes, lane->producer.max_payload_bytes()))
    return slow(name, value);
  if (write_current(thread, *lane, name, encoded.kind, encoded.payload) == Written::kRaised)
    return nullptr;
  return new_reference(value);
}

constexpr const char kLogEncodedDoc[] =
    "log_encoded(name, kind, payload) -> None\n\n"
    "Logs an encoded value to the active writer in the calling thread's context; kind as on disk, "
    "with 0x80\n"
    "for a reference. payload is bytes-like or str. Raises ClosedError without an active writer.";

void log_encoded(PyObject* name, PyObject* kind_object, PyObject* payload_object) {
  LogThread& thread = this_log_thread();
  if (thread.generation != active_log().generation) attach(thread);
  if (thread.active == nullptr) throw Error(ErrorKind::kClosed, "no log writer is active");
  if (!PyUnicode_CheckExact(name)) throw py::type_error("a log name must be a str");
  const std::uint8_t kind = checked_kind(kind_object);
  const Payload payload(payload_object, kind);
  if (write_current(thread, *thread.active, name, kind, payload.bytes()) == Written::kRaised)
    throw py::error_already_set();
}

PyObject* log_encoded_call(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
  if (count != 3) {
    PyErr_Format(PyExc_TypeError, "log_encoded() takes a name, a kind and a payload (%zd given)",
                 count);
    return nullptr;
  }
  if (!guarded([&] { log_encoded(arguments[0], arguments[1], arguments[2]); })) return nullptr;
  return new_reference(Py_None);
}

}  // namespace

Written find_name(Lane& lane, const LogWriter* explicit_writer, PyObject* name, std::uint32_t& id) {
  const NameCache::Slot& slot = lane.names.slot(name);
  if (slot.name == name) [[likely]] {
    id = slot.id;
    return Written::kYes;
  }
  return find_new_name(lane, explicit_writer, name, id);
}

void add_log_calls(py::module_& module) {
  static PyMethodDef methods[] = {
      {"log", as_method(log_call), METH_FASTCALL, kLogDoc},
      {"log_encoded", as_method(log_encoded_call), METH_FASTCALL, kLogEncodedDoc},
      {nullptr, nullptr, 0, nullptr},
  };
  if (PyModule_AddFunctions(module.ptr(), methods) != 0) throw py::error_already_set();
  add_context_calls(module);
  add_loop_types(module);
}

}  // namespace flor::bindings
