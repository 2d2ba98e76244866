#include "snapshot/userfault.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace flor::userfault {
namespace {

uffdio_range range_of(Bytes pages) noexcept {
  return {reinterpret_cast<std::uintptr_t>(pages.data()), pages.size()};
}

int create(bool kernel_too) noexcept {
  const int user_only = kernel_too ? 0 : UFFD_USER_MODE_ONLY;
  const auto fd = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | user_only));
#ifdef USERFAULTFD_IOC_NEW
  if (fd < 0 && kernel_too) {  // the way of an administrator who lets a group use it
    const int device = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    if (device < 0) return -1;
    const int made = ::ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
    ::close(device);
    return made;
  }
#endif
  return fd;
}

}  // namespace

int open(bool kernel_too, std::uint64_t features) noexcept {
  const int fd = create(kernel_too);
  if (fd < 0) return -1;
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | features;
  if (::ioctl(fd, UFFDIO_API, &api) == 0) return fd;
  ::close(fd);
  return -1;
}

bool protect(int fd, Bytes pages) noexcept {
  uffdio_register enroll{};
  enroll.range = range_of(pages);
  enroll.mode = UFFDIO_REGISTER_MODE_WP;
  if (::ioctl(fd, UFFDIO_REGISTER, &enroll) != 0) return false;
  uffdio_writeprotect change{};
  change.range = range_of(pages);
  change.mode = UFFDIO_WRITEPROTECT_MODE_WP;
  while (::ioctl(fd, UFFDIO_WRITEPROTECT, &change) != 0)
    if (errno != EAGAIN && errno != EINTR) return false;
  return true;
}

void unprotect(int fd, Bytes pages) noexcept {
  // Not by UFFDIO_WRITEPROTECT, which stops at the first page that is free already and wakes nobody
  // then. Pages that are no longer enrolled can be protected through another descriptor.
  uffdio_range range = range_of(pages);
  ::ioctl(fd, UFFDIO_UNREGISTER, &range);  // fails where all is unmapped
  ::ioctl(fd, UFFDIO_WAKE, &range);
}

TrialPage::TrialPage() noexcept {
  const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const at =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at != MAP_FAILED) bytes_ = {static_cast<std::byte*>(at), size};
}

TrialPage::~TrialPage() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

}  // namespace flor::userfault
