// Which memory only this process can change: private mappings that no file is behind, as
// /proc/self/maps tells them.
//
// Thread-safety: a value; it tells of the instant at which it was read.
#pragma once

#include <cstdint>
#include <vector>

#include "base/bytes.h"

namespace flor {

class PrivateMemory {
 public:
  // Holds nothing where the system does not tell.
  static PrivateMemory read();
  bool holds(Bytes bytes) const noexcept;

 private:
  struct Range {
    std::uintptr_t begin = 0, end = 0;
  };
  std::vector<Range> ranges_;  // by address, none touches the next
};

}  // namespace flor
