// One test per kind of damage to a log folder.
#include "read/log_reader.h"

#include <catch2/catch.hpp>
#include <fstream>

#include "format/log_names.h"
#include "format/ring_header.h"
#include "format/segment_columns.h"
#include "read/log_testing.h"

namespace flor {
namespace {

using testing::lines;
using testing::log_int;
using testing::options;
using testing::TemporaryFolder;

// Three flushed blocks of two ints each: a=0,1 then b=2,3 (b is defined in block 2) then a=4,5.
struct Segment {
  TemporaryFolder folder;
  std::string path = folder.path() + "/w.000000.seg";
  std::vector<std::size_t> blocks;  // offsets
  Buffer bytes;

  Segment() {
    LogWriter log(folder.path(), "w", options());
    Producer& producer = *log.acquire();
    const char* names[] = {"a", "a", "b", "b", "a", "a"};
    for (int i = 0; i < 6; ++i) {
      log_int(producer, names[i], i);
      if (i % 2 == 1) log.flush();
    }
    log.close();
    const auto file = real_files().map(path);
    bytes.assign(file->bytes().begin(), file->bytes().end());
    for (auto at = find_block(bytes, 0); at; at = find_block(bytes, *at + 1)) blocks.push_back(*at);
    REQUIRE(blocks.size() == 3);
  }
  void write() const {
    std::filesystem::remove(path);
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<long>(bytes.size()));
  }
  void flip(std::size_t at) { bytes[at] ^= std::byte{0x40}; }
  Error strict() const {
    write();
    try {
      read_log(real_files(), folder.path());
    } catch (const Error& error) {
      CHECK(error.path() == path);
      return error;
    }
    FAIL("no error");
    throw 0;
  }
  std::shared_ptr<const LogTable> tolerant() const {
    write();
    return read_log(real_files(), folder.path(), {true});
  }
  std::vector<std::int64_t> values(const LogTable& table) const { return table.integer; }
};

using Ints = std::vector<std::int64_t>;

TEST_CASE("IntactSegment", "[damage]") {
  Segment s;
  const auto table = s.tolerant();
  CHECK(table->integer == Ints{0, 1, 2, 3, 4, 5});
  CHECK(table->dropped_blocks + table->torn_tails + table->dropped_records == 0);
}

TEST_CASE("TornTailIsCutAtEveryLength", "[damage]") {
  Segment s;
  const Buffer whole = s.bytes;
  for (std::size_t size = s.blocks[2] + 1; size < whole.size(); ++size) {
    s.bytes.assign(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size));
    s.write();
    const auto table = read_log(real_files(), s.folder.path());
    REQUIRE(table->integer == Ints{0, 1, 2, 3});
    REQUIRE(table->torn_tails == 1);
    REQUIRE(table->dropped_blocks == 0);
  }
}

TEST_CASE("TailOfZerosIsCut", "[damage]") {
  Segment s;
  s.bytes.resize(s.bytes.size() + 4096);
  s.write();
  const auto table = read_log(real_files(), s.folder.path());
  CHECK(table->integer == Ints{0, 1, 2, 3, 4, 5});
  CHECK(table->torn_tails == 1);
}

TEST_CASE("EmptyAndHeadlessSegmentsAreCut", "[damage]") {
  Segment s;
  s.bytes.resize(GENERATE(0, 5, 30));
  s.write();
  const auto table = read_log(real_files(), s.folder.path());
  CHECK(table->rows == 0);
  CHECK(table->torn_tails == 1);
}

TEST_CASE("DamagedPayloadInTheMiddle", "[damage]") {
  Segment s;
  s.flip(s.blocks[0] + kBlockHeaderBytes + 3);
  const Error error = s.strict();
  CHECK(error.kind() == ErrorKind::kCorrupt);
  CHECK(error.offset() == static_cast<std::int64_t>(s.blocks[0]));
  CHECK_FALSE(error.expected().empty());
  CHECK(error.expected() != error.found());
  const auto table = s.tolerant();
  CHECK(table->dropped_blocks == 1);
  CHECK(table->integer == Ints{2, 3});  // a=4,5 have a name from the lost block
  CHECK(table->dropped_records == 2);
}

TEST_CASE("DamagedHeadInTheMiddleIsSkippedToTheNextBlock", "[damage]") {
  Segment s;
  s.flip(s.blocks[1] + GENERATE(0, 9, 13, 21, 65));
  CHECK(s.strict().kind() == ErrorKind::kCorrupt);
  const auto table = s.tolerant();
  CHECK(table->dropped_blocks == 1);
  CHECK(table->integer == Ints{0, 1, 4, 5});
}

TEST_CASE("DamagedLastBlockOfFullLengthIsNotATornTail", "[damage]") {
  Segment s;
  s.flip(s.bytes.size() - 1);
  CHECK(s.strict().kind() == ErrorKind::kCorrupt);
  CHECK(s.tolerant()->integer == Ints{0, 1, 2, 3});
}

TEST_CASE("GarbageAfterTheLastBlock", "[damage]") {
  Segment s;
  s.bytes.resize(s.bytes.size() + 500, std::byte{0x77});
  CHECK(s.strict().offset() > static_cast<std::int64_t>(s.blocks[2]));
  CHECK(s.tolerant()->integer == Ints{0, 1, 2, 3, 4, 5});
}

TEST_CASE("EveryFlippedByteIsFoundOrHarmless", "[damage]") {
  Segment s;
  const Buffer whole = s.bytes;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    s.bytes = whole;
    s.flip(at);
    s.write();
    INFO("byte " << at);
    try {
      const auto table = read_log(real_files(), s.folder.path());
      // A head that now claims a longer head than the file reads as cut; nothing else may pass.
      CHECK((table->torn_tails == 1 && table->rows == 0));
    } catch (const Error& error) {
      CHECK((error.kind() == ErrorKind::kCorrupt || error.kind() == ErrorKind::kNewerFormat));
    }
  }
}

TEST_CASE("MissingSegment", "[damage]") {
  const TemporaryFolder folder;
  LogOptions small = options();
  small.segment_bytes = 64;
  LogWriter log(folder.path(), "w", small);
  Producer& producer = *log.acquire();
  for (int i = 0; i < 4; ++i) log_int(producer, "a", i), log.flush();
  log.close();
  const int gone = GENERATE(0, 2);
  const std::string path = folder.path() + "/" + segment_name("w", static_cast<unsigned>(gone));
  std::filesystem::remove(path);
  try {
    read_log(real_files(), folder.path());
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCorrupt);
    CHECK(error.path() == path);
  }
  const auto table = read_log(real_files(), folder.path(), {true});
  CHECK(table->dropped_blocks == 1);
  // The name was defined in the first segment.
  CHECK(table->integer == (gone == 0 ? Ints{} : Ints{0, 1, 3}));
  CHECK(table->dropped_records == (gone == 0 ? 3 : 0));
}

// Segments that are made while the folder is listed: the listing shows the last one alone.
class LateListing final : public testing::FullableFiles {
 public:
  std::vector<std::string> list(const std::string& folder) override {
    const auto names = real_files().list(folder);
    return {names.back()};
  }
};

TEST_CASE("SegmentsThatAListingMissedAreFound", "[damage]") {
  const TemporaryFolder folder;
  LogOptions small = options();
  small.segment_bytes = 64;
  LogWriter log(folder.path(), "w", small);
  Producer& producer = *log.acquire();
  for (int i = 0; i < 4; ++i) log_int(producer, "a", i), log.flush();
  log.close();
  LateListing files;
  CHECK(read_log(files, folder.path())->integer == Ints{0, 1, 2, 3});
}

TEST_CASE("SegmentOfAnotherWriter", "[damage]") {
  Segment s;
  std::filesystem::rename(s.path, s.folder.path() + "/v.000000.seg");
  CHECK_THROWS_AS(read_log(real_files(), s.folder.path()), Error);
  CHECK(read_log(real_files(), s.folder.path(), {true})->dropped_blocks == 1);
}

TEST_CASE("NewerVersionRaisesInBothModes", "[damage]") {
  Segment s;
  store(s.bytes.data() + 8, kSegmentVersion + 1);
  CHECK(s.strict().kind() == ErrorKind::kNewerFormat);
  CHECK_THROWS_AS(s.tolerant(), Error);
}

TEST_CASE("DuplicateBlockIsReadOnce", "[damage]") {
  // A crash between the append and the move of the read position leaves a block and its ring's
  // frames.
  const TemporaryFolder folder;
  LogWriter log(folder.path(), "w", options());
  Producer& producer = *log.acquire();
  for (int i = 0; i < 5; ++i) log_int(producer, "a", i);
  std::filesystem::copy_file(folder.path() + "/w.0.ring", folder.path() + "/kept");
  log.flush();
  log.close();
  std::filesystem::rename(folder.path() + "/kept", folder.path() + "/w.0.ring");
  CHECK(read_log(real_files(), folder.path())->integer == Ints{0, 1, 2, 3, 4});
}

TEST_CASE("OtherFilesAreIgnored", "[damage]") {
  Segment s;
  for (const char* name : {"/notes.txt", "/w.1.ring.tmp", "/.seg", "/x.seg"})
    std::ofstream(s.folder.path() + name) << "x";
  CHECK(s.tolerant()->dropped_blocks == 0);
  CHECK(read_log(real_files(), s.folder.path())->rows == 6);
}

// A ring with ints 0..9 that no writer holds any more.
struct LeftRing {
  TemporaryFolder folder;
  std::string path = folder.path() + "/w.0.ring";
  LeftRing() {
    DrainState state;
    Producer producer(Ring::create(path, {0, 4096, 1, "w"}), 0, state);
    for (int i = 0; i < 10; ++i) log_int(producer, "a", i);
  }
  void patch(std::size_t at, const Buffer& with) const {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<long>(at));
    file.write(reinterpret_cast<const char*>(with.data()), static_cast<long>(with.size()));
  }
};

TEST_CASE("LeftRingIsRead", "[damage]") {
  const LeftRing ring;
  CHECK(read_log(real_files(), ring.folder.path())->integer == Ints{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
}

TEST_CASE("DamagedFrameInARing", "[damage]") {
  const LeftRing ring;
  ring.patch(kRingHeaderBytes + 40 + 5 * 40 + 35,
             Buffer{std::byte{1}});  // a payload byte of record 5
  try {
    read_log(real_files(), ring.folder.path());
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCorrupt);
    CHECK(error.path() == ring.path);
    CHECK(error.offset() == static_cast<std::int64_t>(kRingHeaderBytes + 40 + 5 * 40));
  }
  const auto table = read_log(real_files(), ring.folder.path(), {true});
  CHECK(table->integer == Ints{0, 1, 2, 3, 4});
  CHECK(table->dropped_blocks == 1);
}

TEST_CASE("ImpossibleRingPositions", "[damage]") {
  const LeftRing ring;
  Buffer position(8);
  store(position.data(), std::uint64_t{1} << 40);
  ring.patch(kRingWritePosition, position);
  CHECK_THROWS_AS(read_log(real_files(), ring.folder.path()), Error);
  CHECK(read_log(real_files(), ring.folder.path(), {true})->dropped_blocks == 1);
}

TEST_CASE("RingCutShort", "[damage]") {
  const LeftRing ring;
  std::filesystem::resize_file(ring.path, 6000);
  CHECK_THROWS_AS(read_log(real_files(), ring.folder.path()), Error);
}

TEST_CASE("SegmentsAreReadByNumberNotByName", "[order]") {
  const TemporaryFolder folder;
  // Number 1000000 has seven digits and sorts before 999999.
  for (const std::uint64_t number : {999999ULL, 1000000ULL}) {
    Buffer bytes = encode_segment_header({number, "w"});
    BlockBuilder block;
    if (number == 999999) block.add({{kNameFrame, 1, 0, 0, 0}, as_bytes("a"), 0});
    const std::int64_t value = static_cast<std::int64_t>(number);
    block.add({{testing::kInt, 1, 0, number, 0}, std::as_bytes(std::span(&value, 1)), 0});
    BlockHeader header;
    const Bytes payload = block.finish(header);
    header.stored_bytes = header.raw_bytes;
    header.payload_checksum = checksum64(payload);
    const std::size_t at = bytes.size();
    bytes.resize(at + kBlockHeaderBytes);
    write_block_header(bytes.data() + at, header, at);
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    real_files().write_atomically(folder.path() + "/w." + std::to_string(number) + ".seg", bytes);
  }
  const auto table = read_log(real_files(), folder.path(), {true});
  CHECK(table->integer == Ints{999999, 1000000});
  CHECK(table->dropped_blocks == 999999);
}

}  // namespace
}  // namespace flor
