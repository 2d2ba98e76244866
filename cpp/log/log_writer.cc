#include "log/log_writer.h"

#include <unistd.h>

#include <mutex>
#include <utility>
#include <vector>

#include "format/log_names.h"
#include "log/drainer.h"

namespace flor {

struct LogWriter::Shared {
  Shared(FileSystem& files, const std::string& directory, const std::string& writer,
         std::uint64_t segment_bytes)
      : drainer(files, directory, writer, segment_bytes) {}

  std::mutex mutex;
  std::vector<std::unique_ptr<Producer>> producers;  // under mutex; all that were ever made
  std::vector<Producer*> free;                       // under mutex; those without a thread
  Drainer drainer;                                   // destroyed first: it reads the producers
};

namespace {

FileSystem& files_of(const LogOptions& options) {
  return options.files ? *options.files : real_files();
}

// Records are told apart by writer, ring and sequence, so a name is used once in a folder.
void check_name_is_free(FileSystem& files, const std::string& directory,
                        const std::string& writer) {
  for (const std::string& name : files.list(directory)) {
    const auto parsed = parse_log_name(name);
    if (parsed && parsed->writer == writer)
      throw Error(ErrorKind::kInvalid,
                  "a log writer of this name was here before; choose another name",
                  join_path(directory, name));
  }
}

}  // namespace

LogWriter::LogWriter(std::string directory, std::string writer, LogOptions options)
    : directory_(std::move(directory)),
      writer_(std::move(writer)),
      options_(options),
      generation_((watch_forks(), fork_generation())) {
  check_writer_name(writer_);
  check_ring_bytes(options_.ring_bytes);
  if (options_.segment_bytes == 0)
    throw Error(ErrorKind::kInvalid, "segment_bytes must be above 0");
  FileSystem& files = files_of(options_);
  files.make_dirs(directory_);
  real_files().make_dirs(directory_);  // rings map files of the system whatever `files` is
  check_name_is_free(files, directory_, writer_);
  check_name_is_free(real_files(), directory_, writer_);
  shared_ = std::make_unique<Shared>(files, directory_, writer_, options_.segment_bytes);
}

LogWriter::~LogWriter() {
  if (inherited()) {
    // Its mutexes may be held by threads that this process does not have, its thread can't be
    // joined.
    (void)shared_.release();
    return;
  }
  try {
    close();
  } catch (const Error&) {
    // A destructor has nobody to tell; what could not be drained stays in the rings.
  }
}

Producer* LogWriter::acquire() {
  if (inherited())
    throw Error(ErrorKind::kClosed,
                "this log writer belongs to the parent process; make one in the child");
  if (closed_) throw Error(ErrorKind::kClosed, "the log writer is closed", directory_);
  const std::lock_guard lock(shared_->mutex);
  if (shared_->free.empty()) return make_producer();
  Producer* producer = shared_->free.back();
  shared_->free.pop_back();
  return producer;
}

Producer* LogWriter::make_producer() {
  const auto id = static_cast<std::uint32_t>(shared_->producers.size());
  const RingHeader header{id, options_.ring_bytes, static_cast<std::uint64_t>(::getpid()), writer_};
  auto ring =
      Ring::create(join_path(directory_, ring_name(writer_, id)), header, options_.ring_start);
  shared_->producers.push_back(
      std::make_unique<Producer>(std::move(ring), id, shared_->drainer.state()));
  Producer* producer = shared_->producers.back().get();
  try {
    shared_->drainer.add(*producer);
  } catch (...) {
    // Nobody would drain it: a later thread that took it over would wait for ever.
    ::unlink(producer->ring().path().c_str());
    shared_->producers.pop_back();
    throw;
  }
  return producer;
}

void LogWriter::release(Producer* producer) noexcept {
  if (inherited()) return;
  const std::lock_guard lock(shared_->mutex);
  shared_->free.push_back(producer);
}

void LogWriter::flush() {
  if (inherited()) return;
  if (closed_) throw Error(ErrorKind::kClosed, "the log writer is closed", directory_);
  shared_->drainer.flush();
}

void LogWriter::close() {
  if (inherited() || closed_.exchange(true)) return;
  const std::optional<Error> failure = shared_->drainer.stop();
  remove_empty_rings();
  if (failure) throw Error(*failure);
}

void LogWriter::remove_empty_rings() noexcept {
  const std::lock_guard lock(shared_->mutex);
  for (const auto& producer : shared_->producers) {
    Ring& ring = producer->ring();
    if (ring.readable().empty()) ::unlink(ring.path().c_str());
  }
}

std::optional<Error> LogWriter::error() const {
  if (inherited()) return std::nullopt;
  return shared_->drainer.error();
}

LogStats LogWriter::stats() const {
  LogStats out;
  if (inherited()) return out;
  const std::lock_guard lock(shared_->mutex);
  for (const auto& producer : shared_->producers) {
    const Producer::Counters& counters = producer->counters();
    out.records += counters.records.load(std::memory_order_relaxed);
    out.waits += counters.waits.load(std::memory_order_relaxed);
    out.wait_ns += counters.wait_ns.load(std::memory_order_relaxed);
    out.lost += counters.lost.load(std::memory_order_relaxed);
  }
  out.rings = shared_->producers.size();
  out.memory_bytes = out.rings * (options_.ring_bytes + kRingHeaderBytes);
  out.bytes_written = shared_->drainer.bytes_written();
  out.segments = shared_->drainer.segments();
  return out;
}

}  // namespace flor
