// Bytes of a pack: a header, extents of chunks, and, once it is sealed, a directory and a footer.
//
//   pack      = header extent* [directory footer]
//   extent    = head table pad payloads         one write() or a few, in order
//   directory = head table' pad                 table' = table entries, each with its file offset
//
// The grammar, widths and a worked example: docs/format_store.md. Little-endian. Everything that
// starts, starts at a multiple of 64 bytes. Heads and footers carry a checksum seeded by the pack's
// id (its file name), and a head says at which offset it lies, so that chunk content which happens
// to hold a pack is never mistaken for structure.
//
// Thread-safety: free functions without state. No I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "format/chunk_id.h"

namespace flor::pack {

inline constexpr std::string_view kMagic = "FLORPACK";
inline constexpr std::string_view kFooterMagic = "FLORSEAL";
inline constexpr std::uint32_t kVersion = 1;
inline constexpr std::uint32_t kHeadMagic = 0x54584C46;  // "FLXT"
inline constexpr std::size_t kHeaderBytes = 64, kHeadBytes = 64, kFooterBytes = 64;
inline constexpr std::size_t kAlignment = 64;
inline constexpr std::size_t kEntryBytes = 40, kDirectoryEntryBytes = 48;
// A chunk longer than this is refused by readers: a damaged length must not allocate gigabytes.
inline constexpr std::uint32_t kMaxChunkBytes = 1 << 24;

enum class HeadKind : std::uint16_t { kChunks = 1, kDirectory = 2 };

// One stored chunk. `offset` is absolute in the file; in an extent's table it is implied.
struct ChunkEntry {
  ChunkId id;
  std::uint64_t checksum = 0;   // checksum64 of the stored bytes
  std::uint32_t raw_bytes = 0;  // decoded length
  std::uint32_t stored_bytes = 0;
  std::uint8_t codec = 0;  // flor::Codec
  std::uint64_t offset = 0;
  bool operator==(const ChunkEntry&) const = default;
};

struct Head {
  HeadKind kind = HeadKind::kChunks;
  std::uint32_t count = 0;
  std::uint64_t offset = 0;  // of this head in its file
  std::uint64_t payload_bytes = 0;
  std::uint64_t table_checksum = 0;

  std::uint64_t table_offset() const noexcept { return offset + kHeadBytes; }
  std::uint64_t table_bytes() const noexcept;
  std::uint64_t payload_offset() const noexcept;
  std::uint64_t end() const noexcept { return payload_offset() + payload_bytes; }
};

struct Footer {
  std::uint64_t directory_offset = 0;
  std::uint64_t chunks = 0;
  std::uint64_t file_bytes = 0;  // with this footer
};

constexpr std::uint64_t align(std::uint64_t at) noexcept {
  return (at + kAlignment - 1) & ~(kAlignment - 1);
}

// "<16 hex digits>.pack", and back; nullopt for any other name.
std::string file_name(std::uint64_t pack_id);
std::optional<std::uint64_t> id_of_file(std::string_view name) noexcept;

Buffer encode_header(std::uint64_t pack_id, std::int64_t created_unix_ns);
// Throws kNewerFormat, or kCorrupt when it is not the header of this pack. `path` goes into the
// error.
void check_header(Bytes file, std::uint64_t pack_id, const std::string& path);

// Head and table, padded to where the payloads start. Sets the `offset` of every entry.
Buffer encode_extent(std::uint64_t pack_id, std::uint64_t at, std::vector<ChunkEntry>& entries);
// Directory and footer, to be appended at `at`.
Buffer encode_seal(std::uint64_t pack_id, std::uint64_t at, const std::vector<ChunkEntry>& entries);

// nullopt when no valid head of this pack lies at `at`.
std::optional<Head> decode_head(Bytes file, std::uint64_t pack_id, std::uint64_t at) noexcept;
// nullopt when the table is cut, fails its checksum or breaks the grammar.
std::optional<std::vector<ChunkEntry>> decode_table(Bytes file, std::uint64_t pack_id,
                                                    const Head& head);
// The footer of a sealed file; nullopt for any other.
std::optional<Footer> decode_footer(Bytes file, std::uint64_t pack_id) noexcept;

}  // namespace flor::pack
