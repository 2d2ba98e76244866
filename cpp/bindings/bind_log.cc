#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "bindings/log_calls.h"
#include "bindings/log_contexts.h"
#include "bindings/log_value.h"
#include "bindings/without_gil.h"

namespace py = pybind11;

namespace flor::bindings {
namespace {

constexpr std::size_t kMaxCachedContexts = 4096;

using Path = std::vector<std::pair<std::string, std::int64_t>>;

// What Python holds. The PyWriter may outlive it in the lanes of threads; the Python references may
// not.
class LogWriterObject {
 public:
  LogWriterObject(const std::string& directory, const std::string& writer, std::uint64_t ring_bytes,
                  std::uint64_t segment_bytes) {
    LogOptions options;
    options.ring_bytes = ring_bytes;
    options.segment_bytes = segment_bytes;
    writer_ = std::make_shared<PyWriter>(directory, writer, options);
  }
  ~LogWriterObject() {
    writer_->clear_caches();
    try {
      close();
    } catch (const Error&) {
      // Nobody to tell; what could not be drained stays in the rings.
    }
  }
  LogWriterObject(const LogWriterObject&) = delete;
  LogWriterObject& operator=(const LogWriterObject&) = delete;

  const std::shared_ptr<PyWriter>& shared() const noexcept { return writer_; }
  LogWriter& log() const noexcept { return writer_->log; }

  void close() {
    ++active_log().generation;  // threads that log to this one look again
    without_gil([&] { writer_->log.close(); });
  }

 private:
  std::shared_ptr<PyWriter> writer_;
};

void check(Written written) {
  if (written == Written::kRaised) throw py::error_already_set();
}

// The id of an explicit path, defining what the ring does not know. Zero when a record of it would
// be lost.
std::uint32_t context_of(Lane& lane, const LogWriter& log, const Path& path, Written& written) {
  if (lane.contexts.size() > kMaxCachedContexts) lane.contexts.clear();
  std::uint32_t parent = 0;
  for (const auto& [loop, index] : path) {
    std::string key(sizeof parent + sizeof index, '\0');
    std::memcpy(key.data(), &parent, sizeof parent);
    std::memcpy(key.data() + sizeof parent, &index, sizeof index);
    key += loop;
    std::uint32_t& id = lane.contexts[key];
    if (id == 0) {
      std::uint32_t loop_id = 0;
      written = write_waiting(lane, &log, loop.size(),
                              [&] { return lane.producer.name_id(loop, loop_id); });
      if (written == Written::kYes)
        written = write_waiting(lane, &log, 0, [&, i = index] {
          return lane.producer.define_context(parent, loop_id, i, {}, id);
        });
      if (written != Written::kYes) return 0;
    }
    parent = id;
  }
  return parent;
}

void log_explicit(LogWriterObject& self, const py::str& name, std::uint8_t kind, Bytes payload,
                  const Path& path) {
  const LogWriter& log = self.log();
  if (!log.usable())
    throw Error(ErrorKind::kClosed, "the log writer is closed, or of the parent process");
  Lane& lane = this_log_thread().lane_of(self.shared());
  Written written = Written::kYes;
  std::uint32_t name_id = 0;
  written = find_name(lane, &log, name.ptr(), name_id);
  std::uint32_t context = 0;
  if (written == Written::kYes) context = context_of(lane, log, path, written);
  if (written == Written::kYes)
    written = write_waiting(lane, &log, payload.size(),
                            [&] { return lane.producer.try_log(kind, name_id, context, payload); });
  check(written);
}

void log_value(LogWriterObject& self, const py::str& name, const py::object& value,
               const std::optional<Path>& path) {
  EncodedValue encoded;
  PyObject* held = nullptr;
  const bool ok = encode_any(value.ptr(), encoded, &held);
  const auto holder = py::reinterpret_steal<py::object>(held);
  if (!ok) throw py::error_already_set();
  log_explicit(self, name, encoded.kind, encoded.payload, path.value_or(Path{}));
}

void log_encoded_value(LogWriterObject& self, const py::str& name, const py::int_& kind,
                       const py::object& payload, const std::optional<Path>& path) {
  const std::uint8_t checked = checked_kind(kind.ptr());
  const Payload bytes(payload.ptr(), checked);
  log_explicit(self, name, checked, bytes.bytes(), path.value_or(Path{}));
}

void flush(LogWriterObject& self) {
  without_gil([&] { self.log().flush(); });
}

py::dict stats(LogWriterObject& self) {
  const LogStats stats = self.log().stats();
  py::dict out;
  out["records"] = stats.records;
  out["waits"] = stats.waits;
  out["wait_ns"] = stats.wait_ns;
  out["lost"] = stats.lost;
  out["bytes_written"] = stats.bytes_written;
  out["segments"] = stats.segments;
  out["rings"] = stats.rings;
  out["memory_bytes"] = stats.memory_bytes;
  return out;
}

std::optional<std::string> error(LogWriterObject& self) {
  const std::optional<Error> first = self.log().error();
  return first ? std::optional<std::string>(first->what()) : std::nullopt;
}

void set_active(const py::object& object, bool same_run) {
  std::shared_ptr<PyWriter> writer;
  if (!object.is_none()) {
    writer = object.cast<LogWriterObject&>().shared();
    if (!writer->log.usable())
      throw Error(ErrorKind::kClosed,
                  "the log writer is closed, or of the parent process; make a new one");
    // Makes this thread's ring now, where a full disk can be caught.
    this_log_thread().lane_of(writer);
  }
  ActiveLog& active = active_log();
  ++active.generation;
  if (!same_run) ++active.activations;
  active.writer = std::move(writer);
  PyObject* before = active.object;
  active.object = object.is_none() ? nullptr : py::object(object).release().ptr();
  Py_XDECREF(before);  // last: it may close a writer, which runs other threads
}

py::object get_active() {
  const ActiveLog& active = active_log();
  if (active.object == nullptr || active.writer->log.inherited()) return py::none();
  return py::reinterpret_borrow<py::object>(active.object);
}

void set_slow_path(const py::object& callable) {
  if (!callable.is_none() && PyCallable_Check(callable.ptr()) == 0)
    throw py::type_error("the slow path must be callable or None");
  PyObject* before = active_log().slow_path;
  active_log().slow_path = callable.is_none() ? nullptr : py::object(callable).release().ptr();
  Py_XDECREF(before);
}

}  // namespace

void bind_log(py::module_& module) {
  py::class_<LogWriterObject>(module, "LogWriter", "The background logger of one process.")
      .def(py::init<const std::string&, const std::string&, std::uint64_t, std::uint64_t>(),
           py::arg("directory"), py::arg("writer"), py::kw_only(),
           py::arg("ring_bytes") = std::uint64_t{1} << 20,
           py::arg("segment_bytes") = std::uint64_t{64} << 20)
      .def("flush", &flush, "Everything logged before, by any thread, is on the device after this.")
      .def("close", &LogWriterObject::close,
           "Flushes and ends the background thread. A second call does nothing.")
      .def("stats", &stats,
           "Counters: records, waits, wait_ns, lost, bytes_written, segments, rings, memory_bytes.")
      .def("log", &log_value, py::arg("name"), py::arg("value"), py::arg("context") = py::none(),
           "Logs in an explicit context, a list of (loop, index) pairs, outermost first.")
      .def("log_encoded", &log_encoded_value, py::arg("name"), py::arg("kind"), py::arg("payload"),
           py::arg("context") = py::none(),
           "Logs an encoded value; kind as on disk, with 0x80 for a reference.")
      .def_property_readonly("error", &error,
                             "The first failure of the background thread, or None; it stays.")
      .def_property_readonly("directory",
                             [](LogWriterObject& self) { return self.log().directory(); })
      .def_property_readonly("writer", [](LogWriterObject& self) { return self.log().writer(); });
  add_log_calls(module);
  module.def(
      "set_active", &set_active, py::arg("writer").none(true), py::kw_only(),
      py::arg("same_run") = false,
      "The writer that log() uses, or None. Loops are counted anew (`name#2`), unless it goes "
      "on with the same run.");
  module.def("get_active", &get_active, "The active writer; None in a forked child.");
  module.def("set_slow_path", &set_slow_path, py::arg("callable").none(true),
             "callable(name, value): gets what log() does not take itself.");
}

}  // namespace flor::bindings
