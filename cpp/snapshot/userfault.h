// The system calls behind WriteGuard and WriteTracker: userfaultfd write protection of whole pages.
//
// Thread-safety: free functions without state.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace flor::userfault {

// Since Linux 6.4: pages that were never touched are protected too. Since 6.7: a write is let go by
// the system, which keeps that it happened. Not in older headers.
inline constexpr std::uint64_t kProtectsUntouched = 1 << 13, kAsync = 1 << 15;

// A descriptor with these features besides write protection; -1 when the system does not allow it.
// `kernel_too`: system calls that write wait as well; a right that not everyone has.
int open(bool kernel_too, std::uint64_t features) noexcept;
// False where the memory is of a kind that can't be protected, or another descriptor protects it.
bool protect(int fd, Bytes pages) noexcept;
void unprotect(int fd, Bytes pages) noexcept;

// A page of memory of our own, to try things on.
class TrialPage {
 public:
  TrialPage() noexcept;
  ~TrialPage();
  TrialPage(const TrialPage&) = delete;
  TrialPage& operator=(const TrialPage&) = delete;
  MutableBytes bytes() const noexcept { return bytes_; }  // empty when there is no memory

 private:
  MutableBytes bytes_;
};

}  // namespace flor::userfault
