// The one way the core touches a disk: a FileSystem hands out append-only and read-only files.
//
// Two implementations: the system's (`real_files()`) and a faulty one for tests
// (tests/cpp/faulty_files.h), which fails at a chosen byte or call and can forget what was not
// synced. Ring buffers map memory themselves (log/ring_file.h): a mapping is not a stream of
// writes.
//
// Thread-safety: a FileSystem is safe for concurrent use; an AppendFile belongs to one thread at a
// time; a MappedFile is immutable and safe for concurrent reads. All functions throw flor::Error.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/lock_file.h"

namespace flor {

// A file that only grows. Not synced unless asked; the destructor closes without syncing.
class AppendFile {
 public:
  virtual ~AppendFile() = default;
  // Writes all of `bytes` or throws. After a throw the file may end in a part of `bytes` (a torn
  // tail); `truncate(size())` cuts it off.
  virtual void append(Bytes bytes) = 0;
  // The bytes are on the device after this returns (fdatasync).
  virtual void sync() = 0;
  virtual void truncate(std::uint64_t size_bytes) = 0;
  // Bytes that append() has completed.
  virtual std::uint64_t size() const noexcept = 0;
  virtual const std::string& path() const noexcept = 0;
};

// A read-only memory mapping of a whole file as it was when opened. Lives as long as a reader needs
// it, also after the file was removed.
class MappedFile {
 public:
  virtual ~MappedFile() = default;
  virtual Bytes bytes() const noexcept = 0;
  virtual const std::string& path() const noexcept = 0;
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;
  // Creates `path`; it must not exist.
  virtual std::unique_ptr<AppendFile> create(const std::string& path) = 0;
  virtual std::shared_ptr<MappedFile> map(const std::string& path) = 0;
  virtual void make_dirs(const std::string& path) = 0;
  virtual bool exists(const std::string& path) = 0;
  // Names (not paths) in a folder, sorted. A folder that is not there is empty.
  virtual std::vector<std::string> list(const std::string& folder) = 0;
  virtual void rename(const std::string& from, const std::string& to) = 0;
  virtual void remove(const std::string& path) = 0;
  // What any process wrote to `path` before this call is on the device when it returns. Safe while
  // another thread appends: it goes by its own descriptor.
  virtual void sync_file(const std::string& path) = 0;
  // Opens `path` for locking; makes it when it is not there.
  virtual std::unique_ptr<LockFile> open_locks(const std::string& path) = 0;
  // Makes renames and creations in `folder` durable.
  virtual void sync_dir(const std::string& folder) = 0;

  // Writes `bytes` to a temporary file beside `path`, syncs, renames over `path`, syncs the folder:
  // a reader sees the old file or the new one, never a part. The temporary is removed on failure.
  void write_atomically(const std::string& path, Bytes bytes);
};

// The system's files. Never null; shared by all; lives for ever.
FileSystem& real_files();

std::string join_path(const std::string& folder, const std::string& name);
std::string parent_path(const std::string& path);

}  // namespace flor
