#include "format/pack_scan.h"

#include <algorithm>

namespace flor::pack {
namespace {

// The directory of a sealed pack: one read instead of one per extent.
std::optional<Scan> scan_directory(Bytes file, std::uint64_t pack_id) {
  const auto footer = decode_footer(file, pack_id);
  if (!footer) return std::nullopt;
  const auto head = decode_head(file, pack_id, footer->directory_offset);
  if (!head || head->kind != HeadKind::kDirectory || head->count != footer->chunks)
    return std::nullopt;
  auto entries = decode_table(file, pack_id, *head);
  if (!entries) return std::nullopt;
  return Scan{std::move(*entries), {}, file.size(), true};
}

// The first valid head at or after `at`; file.size() when there is none.
std::uint64_t find_head(Bytes file, std::uint64_t pack_id, std::uint64_t at) noexcept {
  for (; at + kHeadBytes <= file.size(); at += kAlignment)
    if (load<std::uint32_t>(file.data() + at) == kHeadMagic && decode_head(file, pack_id, at))
      return at;
  return file.size();
}

void add_extent(Bytes file, std::uint64_t pack_id, const Head& head, Scan& scan) {
  auto entries = decode_table(file, pack_id, head);
  if (!entries) {
    scan.damages.push_back({head.table_offset(), "the table of " + std::to_string(head.count) +
                                                     " chunks fails its checksum"});
    return;
  }
  scan.entries.insert(scan.entries.end(), entries->begin(), entries->end());
}

}  // namespace

Scan scan_pack(Bytes file, std::uint64_t pack_id, std::uint64_t from) {
  if (from == kHeaderBytes)
    if (auto scan = scan_directory(file, pack_id)) return std::move(*scan);
  Scan scan;
  scan.end = from;
  while (scan.end < file.size()) {
    const auto head = decode_head(file, pack_id, scan.end);
    if (!head) {
      const std::uint64_t next = find_head(file, pack_id, align(scan.end + 1));
      if (next == file.size()) break;  // nothing readable follows: a torn tail
      scan.damages.push_back(
          {scan.end, std::to_string(next - scan.end) + " bytes are not an extent"});
      scan.end = next;
      continue;
    }
    if (head->kind == HeadKind::kDirectory) {
      // All chunks lie before it. It stays the end, so that a file still being sealed is looked at
      // again.
      scan.sealed = decode_footer(file, pack_id).has_value();
      break;
    }
    if (head->end() > file.size() || head->payload_bytes > file.size()) break;  // torn
    add_extent(file, pack_id, *head, scan);
    scan.end = head->end();
  }
  return scan;
}

}  // namespace flor::pack
