// The names of the files in a log folder: `<writer>.<number>.ring` and `<writer>.<6 digits>.seg`.
//
// Thread-safety: free functions without state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flor {

enum class LogFileType { kRing, kSegment };

struct LogFileName {
  LogFileType type;
  std::string writer;
  std::uint64_t number = 0;
};

std::string ring_name(std::string_view writer, std::uint64_t number);
std::string segment_name(std::string_view writer, std::uint64_t number);

// Nothing for any other file. A writer name may hold dots: the last two parts decide.
std::optional<LogFileName> parse_log_name(std::string_view name);

}  // namespace flor
