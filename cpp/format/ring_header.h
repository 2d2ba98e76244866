// The head page of a ring file (docs/format_log.md, chapter "Ring").
//
//   offset  width  field
//        0      8  magic "FLORRING"
//        8      4  version
//       12      4  ring id
//       16      8  capacity: bytes of the data area, a power of two
//       24      8  process id of the writer
//       32      2  length of the writer name, at most 128
//       34      -  writer name, zeros up to 248
//      248      8  XXH3-64 of bytes [0, 248)
//      256      8  write position   the only fields that change, on cache lines of their own
//      320      8  read position
//     4096      -  data
//
// Positions count bytes and wrap at 2^64; the byte of a position lies at 4096 + position mod
// capacity. Bytes in [read, write) are frames that no segment is known to hold.
//
// Thread-safety: free functions without state.
#pragma once

#include <string>

#include "base/bytes.h"

namespace flor {

inline constexpr std::uint32_t kRingVersion = 1;
inline constexpr std::size_t kRingHeaderBytes = 4096;
inline constexpr std::size_t kRingWritePosition = 256;
inline constexpr std::size_t kRingReadPosition = 320;
inline constexpr std::size_t kMaxWriterNameBytes = 128;
inline constexpr std::uint64_t kMinRingBytes = 4096;
inline constexpr std::uint64_t kMaxRingBytes = std::uint64_t{1} << 30;

struct RingHeader {
  std::uint32_t ring_id = 0;
  std::uint64_t capacity_bytes = 0;
  std::uint64_t process_id = 0;
  std::string writer;
};

// Throws Invalid unless `bytes` is a power of two in [kMinRingBytes, kMaxRingBytes].
void check_ring_bytes(std::uint64_t bytes);
// Throws Invalid unless `writer` is 1 to 128 letters, digits, '-', '_' or '.'.
void check_writer_name(const std::string& writer);

// Fills bytes [0, 256) of the head page. REQUIRES: a checked header, 256 writable bytes.
void write_ring_header(std::byte* page, const RingHeader& header);

// Reads the head page of a whole ring file. Throws NewerFormat or Corrupt, naming `path`.
RingHeader read_ring_header(Bytes file, const std::string& path);

}  // namespace flor
