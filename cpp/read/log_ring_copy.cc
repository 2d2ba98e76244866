#include "read/log_ring_copy.h"

#include <algorithm>
#include <atomic>

#include "base/error.h"

namespace flor {
namespace {

// The mapping is read-only and atomic_ref has no const form; a load writes nothing.
std::uint64_t load_position(Bytes file, std::size_t offset) noexcept {
  auto* at = const_cast<std::byte*>(file.data() + offset);
  return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(at))
      .load(std::memory_order_acquire);
}

void copy_range(Bytes data, std::uint64_t from, std::size_t count, Buffer& out) {
  const std::size_t start = from & (data.size() - 1);
  const std::size_t first = std::min(count, data.size() - start);
  out.assign(data.begin() + static_cast<std::ptrdiff_t>(start),
             data.begin() + static_cast<std::ptrdiff_t>(start + first));
  out.insert(out.end(), data.begin(), data.begin() + static_cast<std::ptrdiff_t>(count - first));
}

}  // namespace

std::optional<RingCopy> copy_ring(FileSystem& files, const std::string& path) {
  std::shared_ptr<MappedFile> file;
  try {
    file = files.map(path);
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kNotFound) return std::nullopt;
    throw;
  }
  RingCopy out;
  out.path = path;
  out.header = read_ring_header(file->bytes(), path);
  const Bytes data = file->bytes().subspan(kRingHeaderBytes, out.header.capacity_bytes);
  // Read before write: the other order could see more than a whole lap.
  const std::uint64_t read = load_position(file->bytes(), kRingReadPosition);
  const std::uint64_t write = load_position(file->bytes(), kRingWritePosition);
  out.position = read;
  // A lap or more between the two loads: the start of it was drained meanwhile.
  if (write - read > data.size()) {
    const std::uint64_t now = load_position(file->bytes(), kRingReadPosition);
    if (now == read)
      throw Error(ErrorKind::kCorrupt, "the positions of a ring contradict each other", path,
                  kRingWritePosition,
                  "at most " + std::to_string(data.size()) + " bytes between them",
                  std::to_string(write - read));
    return copy_ring(files, path);
  }
  copy_range(data, read, write - read, out.bytes);
  std::atomic_thread_fence(std::memory_order_acquire);
  const std::uint64_t overtaken = load_position(file->bytes(), kRingReadPosition) - read;
  const std::size_t gone = std::min<std::uint64_t>(overtaken, out.bytes.size());
  out.bytes.erase(out.bytes.begin(), out.bytes.begin() + static_cast<std::ptrdiff_t>(gone));
  out.position = read + gone;
  return out;
}

}  // namespace flor
