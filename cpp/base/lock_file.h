// Advisory locks shared by processes: each byte of one file is a lock of its own.
//
// Held until they are given back, or until the object and its copies in forked children are gone: a
// killed process holds nothing. Two objects exclude each other, also within a process. No call
// waits.
//
// Thread-safety: safe for concurrent use.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace flor {

class LockFile {
 public:
  enum class Mode { kShared, kExclusive };

  virtual ~LockFile() = default;
  // False when another object's lock is in the way. Throws kIo where the file system has no locks.
  virtual bool try_lock(std::uint64_t at, Mode mode) = 0;
  virtual void unlock(std::uint64_t at) noexcept = 0;
};

// Locks of the system in the file at `path`, made when it is not there.
std::unique_ptr<LockFile> open_real_locks(const std::string& path);

}  // namespace flor
