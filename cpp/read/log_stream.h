// The records of one ring while a log is read: decoded, deduplicated, with ids resolved.
//
// Invariant: records are in ascending sequence; one that was seen before is left out.
//
// Thread-safety: belongs to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "format/segment_columns.h"
#include "read/log_table.h"

namespace flor {

// Names and contexts of all rings of a log.
class LogDictionary {
 public:
  struct Context {
    std::uint32_t parent = 0;  // 0 = top
    std::int32_t loop = 0;     // a name
    std::int64_t index = 0;
    std::string value;
  };

  std::int32_t name(std::string_view text);
  std::uint32_t add_context(Context context);
  const Context& context(std::uint32_t number) const noexcept { return contexts_[number]; }
  std::string_view name_text(std::int32_t number) const noexcept {
    const auto at = static_cast<std::size_t>(number);
    const auto begin = static_cast<std::size_t>(names_.offsets[at]);
    return as_text(Bytes(names_.bytes)
                       .subspan(begin, static_cast<std::size_t>(names_.offsets[at + 1]) - begin));
  }
  TextColumn take_names() noexcept { return std::move(names_); }

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
      return std::hash<std::string_view>{}(text);
    }
  };
  std::unordered_map<std::string, std::int32_t, Hash, std::equal_to<>> by_text_;
  TextColumn names_;
  std::vector<Context> contexts_ = std::vector<Context>(1);  // number 0 means none
};

class LogStream final : public BlockVisitor {
 public:
  struct Row {
    std::int64_t time_ns;
    std::uint64_t seq;
    std::uint64_t payload;  // the value's bits, or where its bytes begin in heap()
    std::uint32_t length;   // of bytes in heap()
    std::uint32_t context;  // of the dictionary
    std::int32_t name;      // of the dictionary
    std::uint8_t kind;      // as on disk
  };

  LogStream(LogDictionary& dictionary, bool tolerant) noexcept
      : dictionary_(dictionary), tolerant_(tolerant) {}

  void on_name(std::uint32_t id, std::string_view text) override;
  void on_context(std::uint32_t id, std::uint32_t parent, std::uint32_t loop, std::int64_t index,
                  std::string_view value) override;
  void on_records(const RecordColumns& records) override;
  void add_frame(const Frame& frame);

  const std::vector<Row>& rows() const noexcept { return rows_; }
  const Buffer& heap() const noexcept { return heap_; }
  std::uint64_t dropped_records() const noexcept { return dropped_records_; }

 private:
  static constexpr std::uint32_t kUnknown = 0xffffffffU;
  void add_record(const FrameFields& fields, Bytes payload);
  // Throws Corrupt, or counts in tolerant mode.
  void undefined(const char* what, std::uint32_t id);

  LogDictionary& dictionary_;
  const bool tolerant_;
  std::vector<std::uint32_t> names_, contexts_;  // by id of the ring
  std::uint64_t next_seq_ = 0;
  std::vector<Row> rows_;
  Buffer heap_;
  std::uint64_t dropped_records_ = 0;
};

}  // namespace flor
