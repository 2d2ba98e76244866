#include "snapshot/write_tracker.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"
#include "snapshot/userfault.h"

namespace flor {
namespace {

// <linux/fs.h> of Linux 6.7, for older headers.
struct PageRegion {
  std::uint64_t start = 0, end = 0, categories = 0;
};
struct ScanArguments {
  std::uint64_t size = sizeof(ScanArguments), flags = 0, start = 0, end = 0, walk_end = 0;
  std::uint64_t vec = 0, vec_len = 0, max_pages = 0;
  std::uint64_t category_inverted = 0, category_mask = 0, category_anyof_mask = 0, return_mask = 0;
};
constexpr std::uint64_t kIsWritten = 1 << 1, kIsThere = 1 << 3 | 1 << 4, kFailIfUntracked = 1 << 1;
constexpr auto kPagemapScan = _IOWR('f', 16, ScanArguments);

// True when all pages are tracked and none has these categories, some of them inverted.
bool scan(int pagemap, Bytes pages, std::uint64_t inverted, std::uint64_t categories) noexcept {
  PageRegion found;
  ScanArguments scan;
  scan.flags = kFailIfUntracked;
  scan.start = reinterpret_cast<std::uintptr_t>(pages.data());
  scan.end = scan.start + pages.size();
  scan.vec = reinterpret_cast<std::uintptr_t>(&found);
  scan.vec_len = scan.max_pages = 1;
  scan.category_inverted = inverted;
  scan.category_mask = scan.return_mask = categories;
  return ::ioctl(pagemap, kPagemapScan, &scan) == 0;
}

bool try_it() noexcept try {
  WriteTracker tracker;
  const userfault::TrialPage page;
  if (page.bytes().empty() || !tracker.track(page.bytes())) return false;
  if (!tracker.is_unwritten(page.bytes())) return false;
  *static_cast<volatile std::byte*>(page.bytes().data()) = std::byte{1};
  return !tracker.is_unwritten(page.bytes());
} catch (const Error&) {
  return false;
}

}  // namespace

bool WriteTracker::is_supported() noexcept {
  static const bool works = try_it();
  return works;
}

WriteTracker::WriteTracker()
    : process_(::getpid()),
      faults_(userfault::open(false, userfault::kProtectsUntouched | userfault::kAsync)),
      pagemap_(faults_ < 0 ? -1 : ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC)) {
  if (pagemap_ >= 0) return;
  const int why = errno;
  if (faults_ >= 0) ::close(faults_);
  throw system_error("can't track writes to memory", {}, why);
}

WriteTracker::~WriteTracker() {
  ::close(faults_);
  ::close(pagemap_);
}

bool WriteTracker::track(Bytes pages) noexcept {
  return ::getpid() == process_ && userfault::protect(faults_, pages);
}

void WriteTracker::untrack(Bytes pages) noexcept {
  if (::getpid() == process_) userfault::unprotect(faults_, pages);
}

bool WriteTracker::is_unwritten(Bytes pages) const noexcept {
  return scan(pagemap_, pages, 0, kIsWritten);
}

bool WriteTracker::is_untouched(Bytes pages) const noexcept {
  return is_unwritten(pages) && scan(pagemap_, pages, kIsThere, kIsThere);
}

}  // namespace flor
