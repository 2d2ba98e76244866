// Locks of the system: of an open file description, so that they exclude other objects of the same
// process too, and live as long as the last copy of the descriptor.
#include "base/lock_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace flor {
namespace {

class RealLockFile final : public LockFile {
 public:
  explicit RealLockFile(const std::string& path)
      : path_(path), fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
    if (fd_ < 0) throw system_error("can't open", path, errno);
  }
  ~RealLockFile() override { ::close(fd_); }
  RealLockFile(const RealLockFile&) = delete;
  RealLockFile& operator=(const RealLockFile&) = delete;

  bool try_lock(std::uint64_t at, Mode mode) override {
    if (set(at, mode == Mode::kShared ? F_RDLCK : F_WRLCK)) return true;
    if (errno == EAGAIN || errno == EACCES) return false;
    throw system_error("can't lock", path_, errno);
  }
  void unlock(std::uint64_t at) noexcept override { set(at, F_UNLCK); }

 private:
  bool set(std::uint64_t at, short type) noexcept {
    struct flock range {};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_start = static_cast<off_t>(at);
    range.l_len = 1;
    return ::fcntl(fd_, F_OFD_SETLK, &range) == 0;
  }

  const std::string path_;
  const int fd_;
};

}  // namespace

std::unique_ptr<LockFile> open_real_locks(const std::string& path) {
  return std::make_unique<RealLockFile>(path);
}

}  // namespace flor
