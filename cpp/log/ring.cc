#include "log/ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "base/error.h"

namespace flor {
namespace {

constexpr std::size_t kPage = 4096;
static_assert(kRingHeaderBytes % kPage == 0 && std::atomic_ref<std::uint64_t>::is_always_lock_free);

class Descriptor {
 public:
  explicit Descriptor(int value) noexcept : value_(value) {}
  ~Descriptor() {
    if (value_ >= 0) ::close(value_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const noexcept { return value_; }

 private:
  int value_;
};

// One address range: head page, data, data again.
class Mapping {
 public:
  Mapping(int fd, std::uint64_t capacity, const std::string& path)
      : size_(kRingHeaderBytes + 2 * capacity) {
    base_ = ::mmap(nullptr, size_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base_ == MAP_FAILED) throw system_error("can't reserve memory for a log ring", path, errno);
    map(fd, 0, kRingHeaderBytes + capacity, 0, path);
    map(fd, kRingHeaderBytes + capacity, capacity, kRingHeaderBytes, path);
  }
  ~Mapping() {
    if (base_ != nullptr) ::munmap(base_, size_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  std::byte* base() const noexcept { return static_cast<std::byte*>(base_); }
  std::byte* leave() noexcept { return static_cast<std::byte*>(std::exchange(base_, nullptr)); }
  // Writes a zero into every page. REQUIRES: a fresh file, all zeros.
  void touch() noexcept {
    for (std::size_t at = 0; at < size_; at += kPage)
      *const_cast<volatile std::byte*>(base() + at) = std::byte{0};
  }

 private:
  void map(int fd, std::size_t at, std::size_t bytes, std::size_t file_offset,
           const std::string& path) {
    void* wanted = base() + at;
    const void* got = ::mmap(wanted, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
                             static_cast<off_t>(file_offset));
    if (got != wanted) {
      const int error = errno;
      ::munmap(base_, size_);
      throw system_error("can't map a log ring", path, error);
    }
  }
  void* base_ = nullptr;
  std::size_t size_;
};

// Removes a file unless told that it is complete.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string path) : path_(std::move(path)) {}
  ~TemporaryFile() {
    if (!kept_) ::unlink(path_.c_str());
  }
  void rename_to(const std::string& path) {
    if (::rename(path_.c_str(), path.c_str()) != 0)
      throw system_error("can't rename", path_, errno);
    kept_ = true;
  }

 private:
  std::string path_;
  bool kept_ = false;
};

void allocate(int fd, std::uint64_t bytes, const std::string& path) {
  const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  if (error != 0) throw system_error("can't allocate a log ring", path, error);
}

}  // namespace

std::unique_ptr<Ring> Ring::create(const std::string& path, const RingHeader& header,
                                   std::uint64_t start) {
  check_ring_bytes(header.capacity_bytes);
  check_writer_name(header.writer);
  if (header.capacity_bytes % static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) != 0)
    throw Error(ErrorKind::kInvalid,
                "ring_bytes must be a multiple of the page size of this machine");
  const std::string temporary_path = path + ".tmp";
  const Descriptor fd(::open(temporary_path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
  if (fd.get() < 0) throw system_error("can't create a log ring", temporary_path, errno);
  TemporaryFile temporary(temporary_path);
  allocate(fd.get(), kRingHeaderBytes + header.capacity_bytes, path);
  Mapping mapping(fd.get(), header.capacity_bytes, path);
  mapping.touch();
  write_ring_header(mapping.base(), header);
  store(mapping.base() + kRingWritePosition, start);
  store(mapping.base() + kRingReadPosition, start);
  temporary.rename_to(path);
  std::byte* base = mapping.base();
  std::unique_ptr<Ring> ring(
      new Ring(path, header.capacity_bytes, base, base + kRingHeaderBytes, start));
  mapping.leave();
  return ring;
}

Ring::Ring(std::string path, std::uint64_t capacity, std::byte* head, std::byte* data,
           std::uint64_t start) noexcept
    : path_(std::move(path)),
      capacity_(capacity),
      mask_(capacity - 1),
      head_(head),
      data_(data),
      write_(start),
      cached_read_(start),
      read_(start) {}

Ring::~Ring() { ::munmap(head_, kRingHeaderBytes + 2 * capacity_); }

}  // namespace flor
