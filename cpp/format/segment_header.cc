#include "format/segment_header.h"

#include "base/error.h"
#include "base/hash.h"
#include "format/ring_header.h"

namespace flor {
namespace {

constexpr std::string_view kMagic = "FLORSEGM";
constexpr std::string_view kBlockMagic = "FBLK";
constexpr std::size_t kFixed = 28;     // up to the writer name
constexpr std::size_t kMaxHead = 512;  // a longer one is damage
constexpr std::size_t kHeadChecked = 64;

}  // namespace

Buffer encode_segment_header(const SegmentHeader& header) {
  const std::size_t padded = (kFixed + header.writer.size() + 7) & ~std::size_t{7};
  Buffer out(padded + 8);
  std::memcpy(out.data(), kMagic.data(), kMagic.size());
  store(out.data() + 8, kSegmentVersion);
  store(out.data() + 12, static_cast<std::uint32_t>(out.size()));
  store(out.data() + 16, header.number);
  store(out.data() + 24, static_cast<std::uint32_t>(header.writer.size()));
  std::memcpy(out.data() + kFixed, header.writer.data(), header.writer.size());
  store(out.data() + padded, checksum64({out.data(), padded}));
  return out;
}

std::optional<SegmentHeader> read_segment_header(Bytes file, const std::string& path,
                                                 std::size_t* size_bytes) {
  if (file.size() < kFixed) return std::nullopt;
  if (as_text(file.first(8)) != kMagic)
    throw Error(ErrorKind::kCorrupt, "not a log segment", path, 0, std::string(kMagic),
                "other bytes");
  const auto version = load<std::uint32_t>(file.data() + 8);
  if (version > kSegmentVersion)
    throw Error(ErrorKind::kNewerFormat,
                "a log segment written by a later flor; upgrade flor to read it", path, 8,
                "version " + std::to_string(kSegmentVersion), "version " + std::to_string(version));
  const std::size_t size = load<std::uint32_t>(file.data() + 12);
  const std::size_t name_bytes = load<std::uint32_t>(file.data() + 24);
  if (size < kFixed + 8 || size > kMaxHead || name_bytes > kMaxWriterNameBytes ||
      kFixed + name_bytes + 8 > size)
    throw Error(ErrorKind::kCorrupt, "the head of a log segment breaks its grammar", path, 12);
  if (file.size() < size) return std::nullopt;
  if (load<std::uint64_t>(file.data() + size - 8) != checksum64(file.first(size - 8)))
    throw Error(ErrorKind::kCorrupt, "the head of a log segment has a wrong checksum", path,
                static_cast<std::int64_t>(size - 8));
  *size_bytes = size;
  return SegmentHeader{load<std::uint64_t>(file.data() + 16),
                       std::string(as_text(file.subspan(kFixed, name_bytes)))};
}

void write_block_header(std::byte* to, const BlockHeader& header,
                        std::uint64_t file_offset) noexcept {
  std::memcpy(to, kBlockMagic.data(), kBlockMagic.size());
  store(to + 4, header.codec);
  store(to + 8, header.raw_bytes);
  store(to + 12, header.stored_bytes);
  store(to + 16, header.records);
  store(to + 20, header.ring_id);
  store(to + 24, header.first_seq);
  store(to + 32, header.last_seq);
  store(to + 40, header.first_time_ns);
  store(to + 48, header.last_time_ns);
  store(to + 56, header.payload_checksum);
  store(to + kHeadChecked, checksum64({to, kHeadChecked}, file_offset));
}

std::optional<BlockHeader> read_block_header(Bytes from, std::uint64_t file_offset) noexcept {
  const std::byte* at = from.data();
  if (as_text(from.first(4)) != kBlockMagic) return std::nullopt;
  if (load<std::uint64_t>(at + kHeadChecked) != checksum64({at, kHeadChecked}, file_offset))
    return std::nullopt;
  BlockHeader header{load<std::uint32_t>(at + 4),  load<std::uint32_t>(at + 8),
                     load<std::uint32_t>(at + 12), load<std::uint32_t>(at + 16),
                     load<std::uint32_t>(at + 20), load<std::uint64_t>(at + 24),
                     load<std::uint64_t>(at + 32), load<std::int64_t>(at + 40),
                     load<std::int64_t>(at + 48),  load<std::uint64_t>(at + 56)};
  if (header.raw_bytes > kMaxBlockBytes || header.stored_bytes > kMaxBlockBytes)
    return std::nullopt;
  return header;
}

std::optional<std::size_t> find_block(Bytes file, std::size_t from) noexcept {
  const std::string_view text = as_text(file);
  for (std::size_t at = text.find(kBlockMagic, from); at != std::string_view::npos;
       at = text.find(kBlockMagic, at + 1)) {
    if (file.size() - at < kBlockHeaderBytes) break;
    if (read_block_header(file.subspan(at, kBlockHeaderBytes), at)) return at;
  }
  return std::nullopt;
}

}  // namespace flor
