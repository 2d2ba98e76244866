#include "base/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>

#include "base/error.h"

namespace flor {
namespace {

namespace fs = std::filesystem;

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags)
      : value_(::open(path.c_str(), flags | O_CLOEXEC, 0666)) {
    if (value_ < 0) throw system_error("can't open", path, errno);
  }
  ~Descriptor() { ::close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return value_; }

 private:
  int value_;
};

class RealAppendFile final : public AppendFile {
 public:
  explicit RealAppendFile(const std::string& path)
      : path_(path), fd_(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND) {}

  void append(Bytes bytes) override {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t n = ::write(fd_.get(), bytes.data() + done, bytes.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) throw system_error("can't write", path_, errno);
      done += static_cast<std::size_t>(n);
    }
    size_ += bytes.size();
  }
  void sync() override {
    if (::fdatasync(fd_.get()) != 0) throw system_error("can't sync", path_, errno);
  }
  void truncate(std::uint64_t size_bytes) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size_bytes)) != 0)
      throw system_error("can't truncate", path_, errno);
    size_ = size_bytes;
  }
  std::uint64_t size() const noexcept override { return size_; }
  const std::string& path() const noexcept override { return path_; }

 private:
  std::string path_;
  Descriptor fd_;
  std::uint64_t size_ = 0;
};

class RealMappedFile final : public MappedFile {
 public:
  explicit RealMappedFile(const std::string& path) : path_(path) {
    const Descriptor fd(path, O_RDONLY);
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) throw system_error("can't stat", path, errno);
    size_ = static_cast<std::size_t>(info.st_size);
    if (size_ == 0) return;
    void* at = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, fd.get(), 0);
    if (at == MAP_FAILED) throw system_error("can't map", path, errno);
    data_ = static_cast<const std::byte*>(at);
  }
  ~RealMappedFile() override {
    if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  }
  Bytes bytes() const noexcept override { return {data_, size_}; }
  const std::string& path() const noexcept override { return path_; }

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

class RealFileSystem final : public FileSystem {
 public:
  std::unique_ptr<AppendFile> create(const std::string& path) override {
    return std::make_unique<RealAppendFile>(path);
  }
  std::shared_ptr<MappedFile> map(const std::string& path) override {
    return std::make_shared<RealMappedFile>(path);
  }
  void make_dirs(const std::string& path) override {
    std::error_code code;
    fs::create_directories(path, code);
    if (code) throw system_error("can't create the folder", path, code.value());
  }
  bool exists(const std::string& path) override {
    std::error_code code;
    return fs::exists(path, code);
  }
  std::vector<std::string> list(const std::string& folder) override {
    std::vector<std::string> names;
    std::error_code code;
    for (fs::directory_iterator it(folder, code), end; !code && it != end; it.increment(code))
      names.push_back(it->path().filename().string());
    if (code && code.value() != ENOENT) throw system_error("can't list", folder, code.value());
    std::sort(names.begin(), names.end());
    return names;
  }
  void rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) throw system_error("can't rename", from, errno);
  }
  void remove(const std::string& path) override {
    if (::unlink(path.c_str()) != 0 && errno != ENOENT)
      throw system_error("can't remove", path, errno);
  }
  void sync_file(const std::string& path) override {
    const Descriptor fd(path, O_RDONLY);
    if (::fdatasync(fd.get()) != 0) throw system_error("can't sync", path, errno);
  }
  std::unique_ptr<LockFile> open_locks(const std::string& path) override {
    return open_real_locks(path);
  }
  void sync_dir(const std::string& folder) override {
    const Descriptor fd(folder, O_RDONLY | O_DIRECTORY);
    if (::fsync(fd.get()) != 0) throw system_error("can't sync", folder, errno);
  }
};

}  // namespace

void FileSystem::write_atomically(const std::string& path, Bytes bytes) {
  static std::atomic<unsigned> serial{0};
  const std::string temporary =
      path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(serial.fetch_add(1));
  try {
    {
      const auto file = create(temporary);
      file->append(bytes);
      file->sync();
    }
    rename(temporary, path);
    sync_dir(parent_path(path));
  } catch (...) {
    try {
      remove(temporary);
    } catch (const Error&) {
      // The first failure is the one to tell; a left-over temporary is ignored by every reader.
    }
    throw;
  }
}

FileSystem& real_files() {
  static RealFileSystem* files =
      new RealFileSystem;  // never destroyed: threads may outlive statics
  return *files;
}

std::string join_path(const std::string& folder, const std::string& name) {
  return folder + "/" + name;
}

std::string parent_path(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace flor
