#include "format/pack_format.h"

#include <catch2/catch.hpp>

#include "format/pack_scan.h"
#include "golden_file.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::failure;
using testing::noise;

constexpr std::uint64_t kId = 0x0123456789ABCDEF;

pack::ChunkEntry entry_of(Bytes chunk) {
  pack::ChunkEntry entry;
  entry.id.hash = hash128(chunk);
  entry.checksum = checksum64(chunk);
  entry.raw_bytes = entry.stored_bytes = static_cast<std::uint32_t>(chunk.size());
  return entry;
}

// A pack in memory, as a writer makes it.
struct Sample {
  Buffer file = pack::encode_header(kId, 1'700'000'000'000'000'000);
  std::vector<pack::ChunkEntry> entries;
  std::vector<std::size_t> ends;  // of the extents

  void extent(const std::vector<Buffer>& chunks) {
    std::vector<pack::ChunkEntry> added;
    for (const Buffer& chunk : chunks) added.push_back(entry_of(chunk));
    const Buffer head = pack::encode_extent(kId, file.size(), added);
    file.insert(file.end(), head.begin(), head.end());
    for (const Buffer& chunk : chunks) {
      file.insert(file.end(), chunk.begin(), chunk.end());
      file.resize(pack::align(file.size()));
    }
    entries.insert(entries.end(), added.begin(), added.end());
    ends.push_back(file.size());
  }
  void seal() {
    const Buffer tail = pack::encode_seal(kId, file.size(), entries);
    file.insert(file.end(), tail.begin(), tail.end());
  }
};

Sample three_extents() {
  Sample sample;
  sample.extent({noise(100, 1), noise(1000, 2)});
  sample.extent({noise(64, 3), noise(0, 4), noise(65, 5)});
  sample.extent({noise(300, 6)});
  return sample;
}

void flip(Buffer& file, std::size_t at) { file[at] ^= std::byte{0x10}; }

}  // namespace

TEST_CASE("a pack is found whole, unsealed and sealed") {
  Sample sample = three_extents();
  const pack::Scan open = pack::scan_pack(sample.file, kId);
  CHECK(open.entries == sample.entries);
  CHECK(open.damages.empty());
  CHECK(!open.sealed);
  sample.seal();
  const pack::Scan sealed = pack::scan_pack(sample.file, kId);
  CHECK(sealed.entries == sample.entries);
  CHECK(sealed.sealed);
}

TEST_CASE("raw chunks of 64 bytes or a multiple lie one behind the other") {
  Sample sample;
  sample.extent({noise(kChunkBytes, 1), noise(kChunkBytes, 2), noise(10, 3)});
  CHECK(sample.entries[1].offset == sample.entries[0].offset + kChunkBytes);
  CHECK(sample.entries[2].offset == sample.entries[1].offset + kChunkBytes);
  CHECK(sample.entries[0].offset % 64 == 0);
}

TEST_CASE("a pack cut anywhere holds the extents that are whole and nothing else") {
  const Sample sample = three_extents();
  const std::size_t counts[] = {2, 5, 6};
  for (std::size_t length = pack::kHeaderBytes; length <= sample.file.size(); ++length) {
    const pack::Scan scan = pack::scan_pack(Bytes(sample.file).first(length), kId);
    std::size_t expected = 0;
    for (std::size_t i = 0; i < 3; ++i)
      if (length >= sample.ends[i]) expected = counts[i];
    REQUIRE(scan.entries.size() == expected);
    REQUIRE(scan.damages.empty());
  }
}

TEST_CASE("a longer file is scanned from where the last scan ended") {
  const Sample sample = three_extents();
  const pack::Scan first = pack::scan_pack(Bytes(sample.file).first(sample.ends[1] + 70), kId);
  REQUIRE(first.end == sample.ends[1]);
  const pack::Scan rest = pack::scan_pack(sample.file, kId, first.end);
  REQUIRE(rest.entries.size() == 1);
  CHECK(rest.entries[0] == sample.entries[5]);
}

TEST_CASE("a damaged head costs its own extent only, and is told") {
  Sample sample = three_extents();
  flip(sample.file, sample.ends[0] + 9);
  const pack::Scan scan = pack::scan_pack(sample.file, kId);
  CHECK(scan.entries.size() == 3);
  REQUIRE(scan.damages.size() == 1);
  CHECK(scan.damages[0].offset == sample.ends[0]);
}

TEST_CASE("a damaged table costs its own extent only, and is told") {
  Sample sample = three_extents();
  flip(sample.file, sample.ends[0] + pack::kHeadBytes + 3);
  const pack::Scan scan = pack::scan_pack(sample.file, kId);
  CHECK(scan.entries.size() == 3);
  REQUIRE(scan.damages.size() == 1);
  CHECK(scan.damages[0].offset == sample.ends[0] + pack::kHeadBytes);
}

TEST_CASE("every flip in the structure is noticed; none invents a chunk") {
  Sample sample = three_extents();
  sample.seal();
  for (std::size_t at = pack::kHeaderBytes; at < sample.file.size(); ++at) {
    flip(sample.file, at);
    for (const pack::ChunkEntry& entry : pack::scan_pack(sample.file, kId).entries)
      REQUIRE(std::find(sample.entries.begin(), sample.entries.end(), entry) !=
              sample.entries.end());
    flip(sample.file, at);
  }
}

TEST_CASE("a sealed pack with a damaged directory or footer is read by its extents") {
  Sample sample = three_extents();
  sample.seal();
  for (const std::size_t at : {sample.ends[2] + 5, sample.ends[2] + 70, sample.file.size() - 20}) {
    flip(sample.file, at);
    CHECK(pack::scan_pack(sample.file, kId).entries == sample.entries);
    flip(sample.file, at);
  }
}

TEST_CASE("a pack inside a chunk is content, not structure") {
  const Sample inner = three_extents();
  Sample outer;
  outer.extent({inner.file});
  outer.extent({noise(10, 9)});
  flip(outer.file,
       pack::kHeaderBytes + 1);  // the scan must look for the next head, through the content
  const pack::Scan scan = pack::scan_pack(outer.file, kId);
  REQUIRE(scan.entries.size() == 1);
  CHECK(scan.entries[0] == outer.entries[1]);
}

TEST_CASE("another pack's bytes are not this pack's") {
  const Sample sample = three_extents();
  CHECK(pack::scan_pack(sample.file, kId + 1).entries.empty());
  CHECK(failure([&] { pack::check_header(sample.file, kId + 1, "p"); }) == ErrorKind::kCorrupt);
}

TEST_CASE("a pack header: damage, cut, newer version") {
  Sample sample = three_extents();
  pack::check_header(sample.file, kId, "p");
  CHECK(failure([&] { pack::check_header(Bytes(sample.file).first(63), kId, "p"); }) ==
        ErrorKind::kCorrupt);
  flip(sample.file, 20);
  CHECK(failure([&] { pack::check_header(sample.file, kId, "p"); }) == ErrorKind::kCorrupt);
  flip(sample.file, 20);
  sample.file[8] = std::byte{2};
  CHECK(failure([&] { pack::check_header(sample.file, kId, "p"); }) == ErrorKind::kNewerFormat);
}

TEST_CASE("pack file names") {
  CHECK(pack::file_name(kId) == "0123456789abcdef.pack");
  CHECK(pack::id_of_file("0123456789abcdef.pack") == kId);
  for (const char* name :
       {"", "x", "0123456789ABCDEF.pack", "0123456789abcdef.pakk", "0123456789abcde.pack"})
    CHECK(!pack::id_of_file(name));
}

TEST_CASE("golden pack") {
  Sample sample = three_extents();
  sample.seal();
  const Buffer golden = testing::golden_file("pack/0123456789abcdef.pack", sample.file);
  CHECK(golden == sample.file);
  CHECK(pack::scan_pack(golden, kId).entries == sample.entries);
}

}  // namespace flor
