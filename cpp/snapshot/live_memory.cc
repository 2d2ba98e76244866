#include "snapshot/live_memory.h"

#include <sys/uio.h>
#include <unistd.h>

namespace flor {
namespace {

std::size_t word_offset(std::size_t bytes, std::size_t word) noexcept {
  return (bytes - sizeof(std::uint64_t)) / (Sample{}.size() - 1) * word;
}

std::byte* writable(const std::byte* at) noexcept { return const_cast<std::byte*>(at); }

}  // namespace

Bytes whole_pages(Bytes live) noexcept {
  static const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(live.data());
  const std::uintptr_t first = (begin + page - 1) / page * page;
  const std::uintptr_t end = (begin + live.size()) / page * page;
  if (first >= end) return live.first(0);
  return live.subspan(first - begin, end - first);
}

bool can_copy_live() noexcept {
  static const bool can = [] {
    const std::uint64_t from = 1;
    std::uint64_t to = 0;
    return copy_live({reinterpret_cast<std::byte*>(&to), sizeof to},
                     reinterpret_cast<const std::byte*>(&from)) &&
           to == from;
  }();
  return can;
}

bool copy_live(MutableBytes to, const std::byte* from) noexcept {
  for (std::size_t done = 0; done < to.size();) {
    const iovec local{to.data() + done, to.size() - done};
    const iovec remote{writable(from) + done, to.size() - done};
    const ssize_t count = ::process_vm_readv(::getpid(), &local, 1, &remote, 1, 0);
    if (count <= 0) return false;
    done += static_cast<std::size_t>(count);
  }
  return true;
}

std::optional<Sample> sample_live(Bytes live) noexcept {
  Sample sample;
  std::array<iovec, Sample{}.size()> remote;
  for (std::size_t i = 0; i < sample.size(); ++i)
    remote[i] = {writable(live.data()) + word_offset(live.size(), i), sizeof(std::uint64_t)};
  const iovec local{sample.data(), sizeof sample};
  const ssize_t count = ::process_vm_readv(::getpid(), &local, 1, remote.data(), remote.size(), 0);
  if (count != static_cast<ssize_t>(sizeof sample)) return std::nullopt;
  return sample;
}

Sample sample_of(Bytes bytes) noexcept {
  Sample sample;
  for (std::size_t i = 0; i < sample.size(); ++i)
    sample[i] = load<std::uint64_t>(bytes.data() + word_offset(bytes.size(), i));
  return sample;
}

}  // namespace flor
