// The typed errors of the core. Cold paths throw them; hot paths are noexcept and count instead.
//
// An error carries the parts that a person or a program needs (path, offset, expected, found)
// besides its text. bindings/errors.cc is the one place that maps a kind to a Python class.
#pragma once

#include <cstdint>
#include <exception>
#include <string>
#include <utility>

namespace flor {

enum class ErrorKind {
  kInvalid,      // an argument breaks a stated rule
  kNotFound,     // a named thing is not there
  kNotAStore,    // the folder is not a flor store
  kNewerFormat,  // written by a later version of flor
  kCorrupt,      // bytes on disk contradict their checksum or grammar
  kLost,         // a chunk that something names is in no pack of the store
  kFullDisk,     // ENOSPC, EDQUOT
  kReadOnly,     // EACCES, EPERM, EROFS
  kIo,           // any other failure of the system
  kClosed,       // used after close
  kRefused,      // a snapshot that may not be the state at its instant
};

class Error : public std::exception {
 public:
  static constexpr std::int64_t kNoOffset = -1;

  Error(ErrorKind kind, std::string message, std::string path = {}, std::int64_t offset = kNoOffset,
        std::string expected = {}, std::string found = {});

  const char* what() const noexcept override { return text_.c_str(); }

  ErrorKind kind() const noexcept { return kind_; }
  const std::string& message() const noexcept { return message_; }
  const std::string& path() const noexcept { return path_; }
  std::int64_t offset() const noexcept { return offset_; }  // bytes; kNoOffset when it has none
  const std::string& expected() const noexcept { return expected_; }
  const std::string& found() const noexcept { return found_; }

 private:
  ErrorKind kind_;
  std::string message_, path_;
  std::int64_t offset_;
  std::string expected_, found_;
  std::string text_;  // "message: path at offset N (expected E, found F)"
};

// The error for a failed system call: kind from `errno_value`, text "<what>: <strerror>" plus the
// remedy where there is one (free space, change permissions).
Error system_error(const std::string& what, const std::string& path, int errno_value);

}  // namespace flor
