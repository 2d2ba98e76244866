// A record frame: what a producer writes into a ring (docs/format_log.md, chapter "Ring").
//
//   offset  width  field
//        0      4  checksum   low half of XXH3-64 over bytes [4, size), seeded with the ring
//        position 4      4  size       bytes of header and payload; the next frame starts at the
//        next multiple of 8 8      4  kind (low 8 bits) and name id (high 24 bits)
//       12      4  context id, 0 = no loop
//       16      8  sequence number in this ring
//       24      8  nanoseconds since the Unix epoch
//       32      -  payload
//
// Two more kinds define ids before their first use: a name (`name` = id, payload = UTF-8 text) and
// a context
// (`name` = loop name, `context` = parent, `seq` = id, `time_ns` = index, payload = JSON value or
// nothing). Ids belong to one ring and start at 1.
//
// The seed makes a frame of an earlier lap invalid at its old place: its position there was another
// number.
//
// Thread-safety: free functions without state.
#pragma once

#include <string_view>

#include "base/bytes.h"
#include "base/hash.h"

namespace flor {

enum class ValueKind : std::uint8_t {
  kNull = 0,     // no payload
  kBool = 1,     // 1 byte, 0 or 1
  kInt64 = 2,    // 8 bytes
  kFloat64 = 3,  // 8 bytes, IEEE 754
  kString = 4,   // UTF-8
  kBytes = 5,
  kJson = 6,   // UTF-8 JSON text
  kArray = 7,  // UTF-8 JSON text: dtype, shape, reference
};
inline constexpr std::uint8_t kValueKinds = 8;
// Set on a kind whose payload is not the value but a reference into the content store.
inline constexpr std::uint8_t kExternalFlag = 0x80;
// Frames that define ids; never stored as records.
inline constexpr std::uint8_t kNameFrame = 0x40;
inline constexpr std::uint8_t kContextFrame = 0x41;

inline constexpr std::size_t kFrameHeaderBytes = 32;
inline constexpr std::uint32_t kMaxNameId = (1U << 24) - 1;
inline constexpr std::size_t kMaxNameBytes = 4096;

struct FrameFields {
  std::uint8_t kind = 0;
  std::uint32_t name = 0;
  std::uint32_t context = 0;
  std::uint64_t seq = 0;
  std::int64_t time_ns = 0;
};

struct Frame {
  FrameFields fields;
  Bytes payload;         // points into the ring
  std::size_t size = 0;  // bytes it occupies, a multiple of 8
};

constexpr std::size_t frame_size(std::size_t payload_bytes) noexcept {
  return (kFrameHeaderBytes + payload_bytes + 7) & ~std::size_t{7};
}

// True for the kinds a record may have: 0 to 7, and 4 to 7 with kExternalFlag.
constexpr bool is_record_kind(std::uint8_t kind) noexcept {
  if ((kind & kExternalFlag) == 0) return kind < kValueKinds;
  const std::uint8_t plain = kind & ~kExternalFlag;
  return plain >= 4 && plain < kValueKinds;
}

// The payload width that a kind demands, or -1 where any length will do.
constexpr int fixed_payload_bytes(std::uint8_t kind) noexcept {
  constexpr int kWidths[] = {0, 1, 8, 8};
  return kind < 4 ? kWidths[kind] : -1;
}

// Writes a frame at `at`. REQUIRES: frame_size(payload.size()) writable bytes; a name id of 24
// bits.
inline void write_frame(std::byte* at, std::uint64_t position, const FrameFields& fields,
                        Bytes payload) noexcept {
  const auto size = static_cast<std::uint32_t>(kFrameHeaderBytes + payload.size());
  store(at + 4, size);
  store(at + 8, static_cast<std::uint32_t>(fields.kind) | (fields.name << 8));
  store(at + 12, fields.context);
  store(at + 16, fields.seq);
  store(at + 24, fields.time_ns);
  if (!payload.empty()) std::memcpy(at + kFrameHeaderBytes, payload.data(), payload.size());
  store(at, static_cast<std::uint32_t>(checksum64({at + 4, size - 4}, position)));
}

enum class FrameStatus { kOk, kShort, kBadSize, kBadChecksum, kBadGrammar };

// Reads the frame at the start of `in`, which lies at ring position `position`.
FrameStatus read_frame(Bytes in, std::uint64_t position, Frame& out) noexcept;

// What a status says, for error texts.
std::string_view frame_status_text(FrameStatus status) noexcept;

}  // namespace flor
