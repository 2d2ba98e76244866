#include "snapshot/write_guard.h"

#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/error.h"
#include "snapshot/userfault.h"

namespace flor {
namespace {

bool try_it() noexcept {
  const int fd = userfault::open(true, userfault::kProtectsUntouched);
  if (fd < 0) return false;
  const userfault::TrialPage page;
  const bool works = !page.bytes().empty() && userfault::protect(fd, page.bytes());
  ::close(fd);
  return works;
}

}  // namespace

bool WriteGuard::is_supported() noexcept {
  static const bool works = try_it();
  return works;
}

WriteGuard::WriteGuard(OnWrite on_write)
    : on_write_(std::move(on_write)),
      process_(::getpid()),
      faults_(userfault::open(true, userfault::kProtectsUntouched)) {
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
  return userfault::protect(faults_, pages);
}

void WriteGuard::unprotect(Bytes pages) noexcept {
  if (::getpid() == process_) userfault::unprotect(faults_, pages);
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
