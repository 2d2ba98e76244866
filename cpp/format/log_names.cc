#include "format/log_names.h"

#include <charconv>
#include <cstdio>

namespace flor {

std::string ring_name(std::string_view writer, std::uint64_t number) {
  return std::string(writer) + "." + std::to_string(number) + ".ring";
}

std::string segment_name(std::string_view writer, std::uint64_t number) {
  char digits[24];
  std::snprintf(digits, sizeof digits, "%06llu", static_cast<unsigned long long>(number));
  return std::string(writer) + "." + digits + ".seg";
}

std::optional<LogFileName> parse_log_name(std::string_view name) {
  LogFileName out{LogFileType::kRing, {}, 0};
  const auto last = name.rfind('.');
  if (last == std::string_view::npos || last == 0) return std::nullopt;
  const std::string_view ending = name.substr(last);
  if (ending != ".ring" && ending != ".seg") return std::nullopt;
  if (ending == ".seg") out.type = LogFileType::kSegment;
  const auto before = name.rfind('.', last - 1);
  if (before == std::string_view::npos || before == 0) return std::nullopt;
  const char* end = name.data() + last;
  const auto [stop, error] = std::from_chars(name.data() + before + 1, end, out.number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  out.writer = name.substr(0, before);
  return out;
}

}  // namespace flor
