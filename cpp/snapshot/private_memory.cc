#include "snapshot/private_memory.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

namespace flor {

PrivateMemory PrivateMemory::read() {
  PrivateMemory found;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    // begin-end rwxp offset device inode [path]
    std::istringstream words(line);
    Range range;
    char dash = 0;
    std::string access, offset, device;
    std::uint64_t inode = 1;
    words >> std::hex >> range.begin >> dash >> range.end >> access >> offset >> device >>
        std::dec >> inode;
    if (words.fail() || inode != 0 || access.size() != 4 || access[3] != 'p') continue;
    if (!found.ranges_.empty() && found.ranges_.back().end == range.begin)
      found.ranges_.back().end = range.end;
    else
      found.ranges_.push_back(range);
  }
  return found;
}

bool PrivateMemory::holds(Bytes bytes) const noexcept {
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data());
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), begin,
                       [](std::uintptr_t at, Range range) { return at < range.begin; });
  return after != ranges_.begin() && begin + bytes.size() <= std::prev(after)->end;
}

}  // namespace flor
