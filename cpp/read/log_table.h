// Log records by column, in the order and layout in which Arrow takes them (read/log_arrow.h).
//
// Thread-safety: a filled table is immutable.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/bytes.h"

namespace flor {

// Strings end to end: the text of i lies between ends i and i + 1. Arrow's layout of utf8 and
// binary.
struct TextColumn {
  std::vector<std::int32_t> offsets{0};
  Buffer bytes;

  // Throws Invalid above 2 GiB, which Arrow's 32-bit offsets can't address.
  void add(Bytes text);
  void add(std::string_view text) { add(as_bytes(text)); }
  std::size_t size() const noexcept { return offsets.size() - 1; }
};

// One bit a row, least significant first; 1 = valid.
class BitColumn {
 public:
  void add(bool valid) {
    if (count_ % 8 == 0) bits_.push_back(0);
    if (valid)
      bits_.back() = static_cast<std::uint8_t>(bits_.back() | (1U << (count_ % 8)));
    else
      ++nulls_;
    ++count_;
  }
  void reserve(std::size_t rows) { bits_.reserve((rows + 7) / 8); }
  const std::uint8_t* data() const noexcept { return bits_.data(); }
  std::int64_t nulls() const noexcept { return nulls_; }

 private:
  std::vector<std::uint8_t> bits_;
  std::size_t count_ = 0;
  std::int64_t nulls_ = 0;
};

struct LogTable {
  std::size_t rows = 0;
  TextColumn writers;  // dictionary
  TextColumn names;    // dictionary, also of loop names
  std::vector<std::int32_t> writer, ring, name;
  std::vector<std::int64_t> seq;
  std::vector<std::uint8_t> kind;     // ValueKind, without kExternalFlag
  std::vector<double> num;            // of bool, int64, float64
  std::vector<std::int64_t> integer;  // of bool, int64
  BitColumn num_valid, integer_valid, external;
  TextColumn data;  // payloads of the other kinds, or references
  BitColumn data_valid;
  std::vector<double> time;  // Unix seconds

  // The path of row i is elements context_offsets[i] to context_offsets[i + 1], outermost first.
  std::vector<std::int32_t> context_offsets{0};
  TextColumn loop;
  std::vector<std::int64_t> index;
  TextColumn value;  // JSON
  BitColumn value_valid;

  // What could not be read (tolerant reading), and torn tails that were cut (always legal).
  std::uint64_t dropped_blocks = 0;  // damaged blocks, ring remainders, and unreadable files
  std::uint64_t dropped_records =
      0;  // of good blocks, whose name or loop was defined in a dropped one
  std::uint64_t torn_tails = 0;
};

}  // namespace flor
