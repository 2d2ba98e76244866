// The payload of a segment block: definitions, then records by column (docs/format_log.md,
// "Segment").
//
//   definitions   varint count of names; each: varint id, varint length, UTF-8 text
//                 varint count of contexts; each: varint id, varint parent (0 = none), varint loop
//                 name id, zigzag index, varint length, JSON text of the iteration's value
//   columns       seven, each a u32 length and that many bytes:
//     kind        one byte a record
//     name        varint id
//     context     zigzag difference to the record before (0 before the first)
//     seq         varint: how many sequence numbers are missing since the record before
//     time        zigzag difference in ns to the record before (or to first_time_ns)
//     length      varint, only of kinds without a fixed width
//     payload     the payloads, end to end
//
// Varints are LEB128 of at most 10 bytes; zigzag maps signed to unsigned before that.
//
// Thread-safety: a BlockBuilder belongs to one thread; decoding is a function without state.
#pragma once

#include <algorithm>
#include <string_view>
#include <vector>

#include "format/record_frame.h"
#include "format/segment_header.h"

namespace flor {

// Bytes that grow by doubling and keep their memory over `clear`.
class ColumnBuffer {
 public:
  void clear() noexcept { used_ = 0; }
  std::size_t size() const noexcept { return used_; }
  Bytes view() const noexcept { return {bytes_.data(), used_}; }
  void put_byte(std::uint8_t value) { *room(1) = std::byte{value}, used_ += 1; }
  void put_bytes(Bytes bytes) {
    if (bytes.empty()) return;
    std::memcpy(room(bytes.size()), bytes.data(), bytes.size());
    used_ += bytes.size();
  }
  void put_varint(std::uint64_t value) {
    std::byte* at = room(10);
    std::size_t n = 0;
    for (; value >= 0x80; value >>= 7) at[n++] = static_cast<std::byte>(value | 0x80);
    at[n++] = static_cast<std::byte>(value);
    used_ += n;
  }
  // Differences are of unsigned numbers, so that they wrap instead of overflowing.
  void put_zigzag(std::uint64_t difference) {
    put_varint((difference << 1) ^ (0 - (difference >> 63)));
  }

 private:
  std::byte* room(std::size_t bytes) {
    if (bytes_.size() - used_ < bytes)
      bytes_.resize(std::max(bytes_.size() * 2, used_ + bytes + 4096));
    return bytes_.data() + used_;
  }
  Buffer bytes_;
  std::size_t used_ = 0;
};

// Gathers the frames of one ring into one block.
class BlockBuilder {
 public:
  // Takes a frame of any kind. REQUIRES: records come in ascending seq.
  void add(const Frame& frame);
  bool empty() const noexcept { return records_ == 0 && names_ == 0 && contexts_ == 0; }
  // Bytes of payload gathered so far, about.
  std::size_t raw_bytes() const noexcept;
  // The payload, valid until the next call; fills raw_bytes, records, seqs and times of `header`.
  Bytes finish(BlockHeader& header);
  // Forgets everything and keeps the memory.
  void clear() noexcept;

 private:
  void add_record(const Frame& frame);
  void add_context(const Frame& frame);

  ColumnBuffer name_definitions_, context_definitions_;
  ColumnBuffer kind_, name_, context_, seq_, time_, length_, payload_, out_;
  std::uint32_t records_ = 0, names_ = 0, contexts_ = 0;
  std::uint32_t context_before_ = 0;
  std::uint64_t first_seq_ = 0, seq_before_ = 0;
  std::int64_t first_time_ns_ = 0, time_before_ns_ = 0;
};

struct RecordColumns;

// Receives a decoded block: definitions first, then records in order. Spans point into the block's
// payload.
class BlockVisitor {
 public:
  virtual ~BlockVisitor() = default;
  virtual void on_name(std::uint32_t id, std::string_view text) = 0;
  virtual void on_context(std::uint32_t id, std::uint32_t parent, std::uint32_t loop,
                          std::int64_t index, std::string_view value) = 0;
  virtual void on_records(const RecordColumns& records) = 0;
};

// The records of one block. `payload_end[i]` is where record i ends in `payload`; it starts where
// i-1 ends.
struct RecordColumns {
  Bytes kind;
  std::vector<std::uint32_t> name, context;
  std::vector<std::uint64_t> seq;
  std::vector<std::int64_t> time_ns;
  std::vector<std::uint32_t> payload_end;
  Bytes payload;
};

// Decodes a payload. Throws Corrupt without a path (the caller adds where) when it breaks the
// grammar; then the visitor was not called. `scratch` only saves allocations from block to block.
void decode_block(const BlockHeader& header, Bytes payload, RecordColumns& scratch,
                  BlockVisitor& visitor);

}  // namespace flor
