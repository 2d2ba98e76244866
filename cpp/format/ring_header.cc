#include "format/ring_header.h"

#include <algorithm>
#include <bit>
#include <cctype>

#include "base/error.h"
#include "base/hash.h"

namespace flor {
namespace {

constexpr std::string_view kMagic = "FLORRING";
constexpr std::size_t kChecked = 248;

bool valid_capacity(std::uint64_t bytes) noexcept {
  return std::has_single_bit(bytes) && bytes >= kMinRingBytes && bytes <= kMaxRingBytes;
}

}  // namespace

void check_ring_bytes(std::uint64_t bytes) {
  if (valid_capacity(bytes)) return;
  throw Error(ErrorKind::kInvalid, "ring_bytes must be a power of two from 4096 to 1073741824", {},
              Error::kNoOffset, {}, std::to_string(bytes));
}

void check_writer_name(const std::string& writer) {
  const bool plain = std::all_of(writer.begin(), writer.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
  });
  if (plain && !writer.empty() && writer.size() <= kMaxWriterNameBytes) return;
  throw Error(ErrorKind::kInvalid,
              "a writer name must be 1 to 128 letters, digits, '-', '_' or '.'", {},
              Error::kNoOffset, {}, writer);
}

void write_ring_header(std::byte* page, const RingHeader& header) {
  std::memset(page, 0, kRingWritePosition);
  std::memcpy(page, kMagic.data(), kMagic.size());
  store(page + 8, kRingVersion);
  store(page + 12, header.ring_id);
  store(page + 16, header.capacity_bytes);
  store(page + 24, header.process_id);
  store(page + 32, static_cast<std::uint16_t>(header.writer.size()));
  std::memcpy(page + 34, header.writer.data(), header.writer.size());
  store(page + kChecked, checksum64({page, kChecked}));
}

RingHeader read_ring_header(Bytes file, const std::string& path) {
  if (file.size() < kRingHeaderBytes)
    throw Error(ErrorKind::kCorrupt, "a ring file is shorter than its head page", path, 0,
                std::to_string(kRingHeaderBytes) + " bytes",
                std::to_string(file.size()) + " bytes");
  if (as_text(file.first(8)) != kMagic)
    throw Error(ErrorKind::kCorrupt, "not a ring file", path, 0, std::string(kMagic),
                "other bytes");
  const auto version = load<std::uint32_t>(file.data() + 8);
  if (version > kRingVersion)
    throw Error(ErrorKind::kNewerFormat, "a ring written by a later flor; upgrade flor to read it",
                path, 8, "version " + std::to_string(kRingVersion),
                "version " + std::to_string(version));
  if (load<std::uint64_t>(file.data() + kChecked) != checksum64(file.first(kChecked)))
    throw Error(ErrorKind::kCorrupt, "the head of a ring has a wrong checksum", path, kChecked);
  RingHeader header{load<std::uint32_t>(file.data() + 12),
                    load<std::uint64_t>(file.data() + 16),
                    load<std::uint64_t>(file.data() + 24),
                    {}};
  const std::size_t length = load<std::uint16_t>(file.data() + 32);
  if (length > kMaxWriterNameBytes || !valid_capacity(header.capacity_bytes))
    throw Error(ErrorKind::kCorrupt, "the head of a ring breaks its grammar", path, 16);
  if (file.size() < kRingHeaderBytes + header.capacity_bytes)
    throw Error(ErrorKind::kCorrupt, "a ring file is cut short", path,
                static_cast<std::int64_t>(file.size()),
                std::to_string(kRingHeaderBytes + header.capacity_bytes) + " bytes",
                std::to_string(file.size()) + " bytes");
  header.writer = as_text(file.subspan(34, length));
  return header;
}

}  // namespace flor
