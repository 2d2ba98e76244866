#include "format/pack_format.h"

#include <algorithm>

#include "base/error.h"

namespace flor::pack {
namespace {

constexpr std::size_t kSealedPart = 56;  // of header, head and footer: what their checksum covers

// Appends the checksum of the 56 bytes before it.
Buffer with_checksum(ByteWriter&& out, std::uint64_t pack_id) {
  out.put(checksum64(out.view(), pack_id));
  return std::move(out).take();
}
bool checksum_holds(Bytes block, std::uint64_t pack_id) noexcept {
  return load<std::uint64_t>(block.data() + kSealedPart) ==
         checksum64(block.first(kSealedPart), pack_id);
}

void put_zeros(ByteWriter& out, std::size_t until) {
  while (out.size() < until) out.put(std::uint8_t{0});
}

void put_entry(ByteWriter& out, const ChunkEntry& entry) {
  out.put(entry.id.hash.low);
  out.put(entry.id.hash.high);
  out.put(entry.checksum);
  out.put(entry.raw_bytes);
  out.put(entry.stored_bytes);
  out.put(entry.id.salt);
  out.put(entry.codec);
  out.put(std::uint16_t{0});
  out.put(std::uint32_t{0});
}

ChunkEntry get_entry(ByteReader& in) noexcept {
  ChunkEntry entry;
  entry.id.hash.low = in.get<std::uint64_t>();
  entry.id.hash.high = in.get<std::uint64_t>();
  entry.checksum = in.get<std::uint64_t>();
  entry.raw_bytes = in.get<std::uint32_t>();
  entry.stored_bytes = in.get<std::uint32_t>();
  entry.id.salt = in.get<std::uint8_t>();
  entry.codec = in.get<std::uint8_t>();
  in.get_bytes(6);
  return entry;
}

Buffer encode_head(std::uint64_t pack_id, const Head& head) {
  ByteWriter out;
  out.put(kHeadMagic);
  out.put(static_cast<std::uint16_t>(head.kind));
  out.put(static_cast<std::uint16_t>(head.kind == HeadKind::kChunks ? kEntryBytes
                                                                    : kDirectoryEntryBytes));
  out.put(head.count);
  out.put(std::uint32_t{0});
  out.put(head.offset);
  out.put(head.payload_bytes);
  out.put(head.table_checksum);
  put_zeros(out, kSealedPart);
  return with_checksum(std::move(out), pack_id);
}

// Head and table in one buffer, padded to the payloads.
Buffer join(std::uint64_t pack_id, Head head, Bytes table) {
  head.table_checksum = checksum64(table, pack_id);
  ByteWriter out;
  out.put_bytes(encode_head(pack_id, head));
  out.put_bytes(table);
  put_zeros(out, static_cast<std::size_t>(head.payload_offset() - head.offset));
  return std::move(out).take();
}

bool plausible(const ChunkEntry& entry, std::uint64_t file_bytes) noexcept {
  return entry.raw_bytes <= kMaxChunkBytes && entry.offset <= file_bytes &&
         entry.stored_bytes <= file_bytes - entry.offset;
}

}  // namespace

std::uint64_t Head::table_bytes() const noexcept {
  return std::uint64_t{count} * (kind == HeadKind::kChunks ? kEntryBytes : kDirectoryEntryBytes);
}
std::uint64_t Head::payload_offset() const noexcept {
  return align(table_offset() + table_bytes());
}

std::string file_name(std::uint64_t pack_id) {
  return to_hex(Hash128{0, pack_id}).substr(0, 16) + ".pack";
}

std::optional<std::uint64_t> id_of_file(std::string_view name) noexcept {
  if (name.size() != 21 || name.substr(16) != ".pack") return std::nullopt;
  std::uint64_t id = 0;
  for (const char c : name.substr(0, 16)) {
    const bool digit = c >= '0' && c <= '9';
    if (!digit && (c < 'a' || c > 'f')) return std::nullopt;
    id = id << 4 | static_cast<std::uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  return id;
}

Buffer encode_header(std::uint64_t pack_id, std::int64_t created_unix_ns) {
  ByteWriter out;
  out.put_bytes(as_bytes(kMagic));
  out.put(kVersion);
  out.put(static_cast<std::uint32_t>(kHeaderBytes));
  out.put(pack_id);
  out.put(created_unix_ns);
  put_zeros(out, kSealedPart);
  return with_checksum(std::move(out), pack_id);
}

void check_header(Bytes file, std::uint64_t pack_id, const std::string& path) {
  if (file.size() < kHeaderBytes)
    throw Error(ErrorKind::kCorrupt, "the pack ends inside its header", path, 0,
                std::to_string(kHeaderBytes) + " bytes", std::to_string(file.size()));
  if (as_text(file.first(8)) != kMagic)
    throw Error(ErrorKind::kCorrupt, "not a flor pack", path, 0, std::string(kMagic),
                "other bytes");
  const auto version = load<std::uint32_t>(file.data() + 8);
  // The version comes before the checksum: a later version may keep its checksum elsewhere.
  if (version > kVersion)
    throw Error(ErrorKind::kNewerFormat,
                "the pack was written by a newer flor; upgrade flor to read it", path, 8,
                "version " + std::to_string(kVersion) + " or lower", std::to_string(version));
  if (!checksum_holds(file.first(kHeaderBytes), pack_id))
    throw Error(ErrorKind::kCorrupt, "the pack's header fails its checksum", path, 0,
                "a header of pack " + file_name(pack_id), "other bytes");
}

Buffer encode_extent(std::uint64_t pack_id, std::uint64_t at, std::vector<ChunkEntry>& entries) {
  Head head;
  head.count = static_cast<std::uint32_t>(entries.size());
  head.offset = at;
  std::uint64_t payload_at = head.payload_offset();
  ByteWriter table;
  for (ChunkEntry& entry : entries) {
    entry.offset = payload_at;
    payload_at += align(entry.stored_bytes);
    put_entry(table, entry);
  }
  head.payload_bytes = payload_at - head.payload_offset();
  return join(pack_id, head, table.view());
}

Buffer encode_seal(std::uint64_t pack_id, std::uint64_t at,
                   const std::vector<ChunkEntry>& entries) {
  Head head;
  head.kind = HeadKind::kDirectory;
  head.count = static_cast<std::uint32_t>(entries.size());
  head.offset = at;
  ByteWriter table;
  for (const ChunkEntry& entry : entries) {
    put_entry(table, entry);
    table.put(entry.offset);
  }
  Buffer out = join(pack_id, head, table.view());
  ByteWriter footer;
  footer.put_bytes(as_bytes(kFooterMagic));
  footer.put(kVersion);
  footer.put(std::uint32_t{0});
  footer.put(at);
  footer.put(static_cast<std::uint64_t>(entries.size()));
  footer.put(static_cast<std::uint64_t>(at + out.size() + kFooterBytes));
  put_zeros(footer, kSealedPart);
  const Buffer sealed = with_checksum(std::move(footer), pack_id);
  out.insert(out.end(), sealed.begin(), sealed.end());
  return out;
}

std::optional<Head> decode_head(Bytes file, std::uint64_t pack_id, std::uint64_t at) noexcept {
  if (at > file.size() || file.size() - at < kHeadBytes) return std::nullopt;
  const Bytes block = file.subspan(at, kHeadBytes);
  if (load<std::uint32_t>(block.data()) != kHeadMagic || !checksum_holds(block, pack_id))
    return std::nullopt;
  ByteReader in(block.subspan(4));
  Head head;
  head.kind = static_cast<HeadKind>(in.get<std::uint16_t>());
  const auto entry_bytes = in.get<std::uint16_t>();
  head.count = in.get<std::uint32_t>();
  in.get<std::uint32_t>();
  head.offset = in.get<std::uint64_t>();
  head.payload_bytes = in.get<std::uint64_t>();
  head.table_checksum = in.get<std::uint64_t>();
  const bool chunks = head.kind == HeadKind::kChunks;
  if (!chunks && head.kind != HeadKind::kDirectory) return std::nullopt;
  if (head.offset != at || entry_bytes != (chunks ? kEntryBytes : kDirectoryEntryBytes))
    return std::nullopt;
  return head;
}

std::optional<std::vector<ChunkEntry>> decode_table(Bytes file, std::uint64_t pack_id,
                                                    const Head& head) {
  if (head.payload_offset() > file.size()) return std::nullopt;
  const Bytes table = file.subspan(head.table_offset(), head.table_bytes());
  if (checksum64(table, pack_id) != head.table_checksum) return std::nullopt;
  ByteReader in(table);
  std::vector<ChunkEntry> entries;
  entries.reserve(head.count);
  std::uint64_t payload_at = head.payload_offset();
  for (std::uint32_t i = 0; i < head.count; ++i) {
    ChunkEntry entry = get_entry(in);
    if (head.kind == HeadKind::kDirectory)
      entry.offset = in.get<std::uint64_t>();
    else
      entry.offset = payload_at;
    payload_at += align(entry.stored_bytes);
    if (!plausible(entry, file.size())) return std::nullopt;
    entries.push_back(entry);
  }
  if (head.kind == HeadKind::kChunks && payload_at != head.end()) return std::nullopt;
  return entries;
}

std::optional<Footer> decode_footer(Bytes file, std::uint64_t pack_id) noexcept {
  if (file.size() < kHeaderBytes + kHeadBytes + kFooterBytes) return std::nullopt;
  const Bytes block = file.last(kFooterBytes);
  if (as_text(block.first(8)) != kFooterMagic || !checksum_holds(block, pack_id))
    return std::nullopt;
  ByteReader in(block.subspan(16));
  Footer footer;
  footer.directory_offset = in.get<std::uint64_t>();
  footer.chunks = in.get<std::uint64_t>();
  footer.file_bytes = in.get<std::uint64_t>();
  if (footer.file_bytes != file.size() || footer.directory_offset > file.size())
    return std::nullopt;
  return footer;
}

}  // namespace flor::pack
