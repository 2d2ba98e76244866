#include "format/record_frame.h"

namespace flor {
namespace {

bool grammar_ok(const FrameFields& fields, std::size_t payload_bytes) noexcept {
  if (fields.name == 0) return false;
  if (fields.kind == kNameFrame) return payload_bytes <= kMaxNameBytes;
  if (fields.kind == kContextFrame) return fields.seq != 0 && fields.seq <= 0xffffffffU;
  if (!is_record_kind(fields.kind)) return false;
  const int width = fixed_payload_bytes(fields.kind);
  return width < 0 || payload_bytes == static_cast<std::size_t>(width);
}

}  // namespace

FrameStatus read_frame(Bytes in, std::uint64_t position, Frame& out) noexcept {
  if (in.size() < kFrameHeaderBytes) return FrameStatus::kShort;
  const std::byte* at = in.data();
  const auto size = load<std::uint32_t>(at + 4);
  if (size < kFrameHeaderBytes) return FrameStatus::kBadSize;
  const std::size_t padded = (std::size_t{size} + 7) & ~std::size_t{7};
  if (padded > in.size()) return FrameStatus::kBadSize;
  if (load<std::uint32_t>(at) !=
      static_cast<std::uint32_t>(checksum64({at + 4, size - 4}, position)))
    return FrameStatus::kBadChecksum;
  const auto kind_name = load<std::uint32_t>(at + 8);
  out.fields = {static_cast<std::uint8_t>(kind_name), kind_name >> 8, load<std::uint32_t>(at + 12),
                load<std::uint64_t>(at + 16), load<std::int64_t>(at + 24)};
  out.payload = in.subspan(kFrameHeaderBytes, size - kFrameHeaderBytes);
  out.size = padded;
  return grammar_ok(out.fields, out.payload.size()) ? FrameStatus::kOk : FrameStatus::kBadGrammar;
}

std::string_view frame_status_text(FrameStatus status) noexcept {
  switch (status) {
    case FrameStatus::kOk:
      return "a whole frame";
    case FrameStatus::kShort:
      return "less than a frame header";
    case FrameStatus::kBadSize:
      return "an impossible frame size";
    case FrameStatus::kBadChecksum:
      return "a wrong frame checksum";
    case FrameStatus::kBadGrammar:
      return "a frame that breaks the grammar";
  }
  return "";
}

}  // namespace flor
