#include "base/error.h"

#include <cerrno>
#include <cstring>

namespace flor {

Error::Error(ErrorKind kind, std::string message, std::string path, std::int64_t offset,
             std::string expected, std::string found)
    : kind_(kind),
      message_(std::move(message)),
      path_(std::move(path)),
      offset_(offset),
      expected_(std::move(expected)),
      found_(std::move(found)),
      text_(message_) {
  if (!path_.empty()) text_ += ": " + path_;
  if (offset_ != kNoOffset) text_ += " at byte " + std::to_string(offset_);
  if (!expected_.empty()) text_ += " (expected " + expected_ + ", found " + found_ + ")";
}

Error system_error(const std::string& what, const std::string& path, int errno_value) {
  const std::string text = what + ": " + std::strerror(errno_value);
  switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
      return {ErrorKind::kFullDisk, text + "; free space or move the store", path};
    case EACCES:
    case EPERM:
    case EROFS:
      return {ErrorKind::kReadOnly, text + "; make the folder writable or choose another store",
              path};
    case ENOENT:
      return {ErrorKind::kNotFound, text, path};
    default:
      return {ErrorKind::kIo, text, path};
  }
}

}  // namespace flor
