#include "snapshot/write_guard.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"

namespace flor {
namespace {

// Since Linux 6.4: pages that were never touched are protected too. Not in older headers.
constexpr std::uint64_t kProtectsUntouched = 1 << 13;

int open_faults() noexcept {
  // Without UFFD_USER_MODE_ONLY: system calls must be able to wait as well.
  int fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
#ifdef USERFAULTFD_IOC_NEW
  if (fd < 0) {  // the way of an administrator who lets a group use it
    const int device = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) return -1;
    fd = ::ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    ::close(device);
  }
#endif
  if (fd < 0) return -1;
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | kProtectsUntouched;
  if (::ioctl(fd, UFFDIO_API, &api) == 0) return fd;
  ::close(fd);
  return -1;
}

bool write_protect(int fd, Bytes pages, bool on) noexcept {
  uffdio_writeprotect change{};
  change.range = {reinterpret_cast<std::uintptr_t>(pages.data()), pages.size()};
  change.mode = on ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  while (::ioctl(fd, UFFDIO_WRITEPROTECT, &change) != 0)
    if (errno != EAGAIN && errno != EINTR) return false;
  return true;
}

bool enroll(int fd, Bytes pages) noexcept {
  uffdio_register range{};
  range.range = {reinterpret_cast<std::uintptr_t>(pages.data()), pages.size()};
  range.mode = UFFDIO_REGISTER_MODE_WP;
  return ::ioctl(fd, UFFDIO_REGISTER, &range) == 0;
}

bool try_it() noexcept {
  const int fd = open_faults();
  if (fd < 0) return false;
  const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const at =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  const Bytes page{static_cast<std::byte*>(at), size};
  const bool works = at != MAP_FAILED && enroll(fd, page) && write_protect(fd, page, true);
  if (at != MAP_FAILED) ::munmap(at, size);
  ::close(fd);
  return works;
}

}  // namespace

bool WriteGuard::is_supported() noexcept {
  static const bool works = try_it();
  return works;
}

WriteGuard::WriteGuard(OnWrite on_write)
    : on_write_(std::move(on_write)), process_(::getpid()), faults_(open_faults()) {
  if (faults_ < 0) throw system_error("can't watch writes to memory", {}, errno);
  stop_ = ::eventfd(0, EFD_CLOEXEC);
  // No signal handler may run on a thread that others wait for.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

WriteGuard::~WriteGuard() {
  if (::getpid() == process_) {
    const std::uint64_t one = 1;
    (void)!::write(stop_, &one, sizeof one);
    thread_.join();
  } else {
    thread_.detach();  // it lives in the parent
  }
  ::close(faults_);
  ::close(stop_);
}

bool WriteGuard::protect(Bytes pages) noexcept {
  if (::getpid() != process_) return false;
  return enroll(faults_, pages) && write_protect(faults_, pages, true);
}

void WriteGuard::unprotect(Bytes pages) noexcept {
  if (::getpid() == process_) write_protect(faults_, pages, false);  // fails where it is unmapped
}

void WriteGuard::run() {
  pthread_setname_np(pthread_self(), "flor-guard");
  for (;;) {
    std::array<pollfd, 2> ready{{{faults_, POLLIN, 0}, {stop_, POLLIN, 0}}};
    if (::poll(ready.data(), ready.size(), -1) < 0) continue;
    if (ready[1].revents != 0) return;
    uffd_msg message;
    while (::read(faults_, &message, sizeof message) == sizeof message)
      if (message.event == UFFD_EVENT_PAGEFAULT) on_write_(message.arg.pagefault.address);
  }
}

}  // namespace flor
