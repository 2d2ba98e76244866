// The heads in a segment file (docs/format_log.md, chapter "Segment"): one of the file, one of each
// block.
//
// File head, padded with zeros to a multiple of 8:
//        0      8  magic "FLORSEGM"
//        8      4  version
//       12      4  bytes of this head, checksum included
//       16      8  number of the segment, from 0
//       24      4  length of the writer name, then the name, zeros
//      end-8    8  XXH3-64 of all before
//
// Block head, 72 bytes, followed by `stored_bytes` of payload (segment_columns.h) under `codec`:
//        0      4  magic "FBLK"
//        4      4  codec: 0 none, 1 lz4
//        8      4  raw_bytes: payload before the codec
//       12      4  stored_bytes
//       16      4  records
//       20      4  ring id
//       24      8  first sequence number, 0 without records
//       32      8  last sequence number
//       40      8  time of the first record, ns
//       48      8  time of the last record, ns
//       56      8  XXH3-64 of the stored payload
//       64      8  XXH3-64 of bytes [0, 64), seeded with the block's offset in the file
//
// Thread-safety: free functions without state.
#pragma once

#include <optional>
#include <string>

#include "base/bytes.h"

namespace flor {

inline constexpr std::uint32_t kSegmentVersion = 1;
inline constexpr std::size_t kBlockHeaderBytes = 72;
// No writer makes a payload above this; a larger length in a block head is damage.
inline constexpr std::uint32_t kMaxBlockBytes = std::uint32_t{1} << 30;

struct SegmentHeader {
  std::uint64_t number = 0;
  std::string writer;
};

Buffer encode_segment_header(const SegmentHeader& header);

// Reads the head of a segment; `*size_bytes` becomes its length. Nothing when the file ends inside
// the head (its creation was cut off). Throws NewerFormat or Corrupt, naming `path`.
std::optional<SegmentHeader> read_segment_header(Bytes file, const std::string& path,
                                                 std::size_t* size_bytes);

struct BlockHeader {
  std::uint32_t codec = 0;
  std::uint32_t raw_bytes = 0;
  std::uint32_t stored_bytes = 0;
  std::uint32_t records = 0;
  std::uint32_t ring_id = 0;
  std::uint64_t first_seq = 0, last_seq = 0;
  std::int64_t first_time_ns = 0, last_time_ns = 0;
  std::uint64_t payload_checksum = 0;
};

void write_block_header(std::byte* to, const BlockHeader& header,
                        std::uint64_t file_offset) noexcept;

// Nothing when the magic, the checksum or a length is wrong. REQUIRES: kBlockHeaderBytes in `from`.
std::optional<BlockHeader> read_block_header(Bytes from, std::uint64_t file_offset) noexcept;

// The offset of the next valid block head at or after `from`; nothing when there is none.
std::optional<std::size_t> find_block(Bytes file, std::size_t from) noexcept;

}  // namespace flor
