// Segment heads, block heads, and the columns of a block.
#include <catch2/catch.hpp>
#include <random>

#include "base/error.h"
#include "format/segment_columns.h"

namespace flor {
namespace {

struct Seen : BlockVisitor {
  struct Record {
    std::uint8_t kind;
    std::uint32_t name, context;
    std::uint64_t seq;
    std::int64_t time_ns;
    std::string payload;
    bool operator==(const Record&) const = default;
  };
  std::vector<std::string> definitions;
  std::vector<Record> records;

  void on_name(std::uint32_t id, std::string_view text) override {
    definitions.push_back(std::to_string(id) + "=" + std::string(text));
  }
  void on_context(std::uint32_t id, std::uint32_t parent, std::uint32_t loop, std::int64_t index,
                  std::string_view value) override {
    definitions.push_back(std::to_string(id) + "<" + std::to_string(parent) + ":" +
                          std::to_string(loop) + "[" + std::to_string(index) + "]" +
                          std::string(value));
  }
  void on_records(const RecordColumns& columns) override {
    std::size_t start = 0;
    for (std::size_t i = 0; i < columns.kind.size(); ++i) {
      const std::size_t end = columns.payload_end[i];
      records.push_back({std::to_integer<std::uint8_t>(columns.kind[i]), columns.name[i],
                         columns.context[i], columns.seq[i], columns.time_ns[i],
                         std::string(as_text(columns.payload.subspan(start, end - start)))});
      start = end;
    }
  }
};

void add(BlockBuilder& block, const Seen::Record& r) {
  block.add({{r.kind, r.name, r.context, r.seq, r.time_ns}, as_bytes(r.payload), 0});
}

Seen decode(const BlockHeader& header, Bytes payload) {
  Seen seen;
  RecordColumns scratch;
  decode_block(header, payload, scratch, seen);
  return seen;
}

std::vector<Seen::Record> sample() {
  const std::string eight = "12345678";
  return {{3, 1, 0, 5, 1000, eight},
          {1, 2, 1, 6, 1000, "\1"},
          {0, 1, 1, 9, 999, ""},
          {4, 3, 4294967295U, 10, 1LL << 62, "text"},
          {0x87, kMaxNameId, 1, 11, -1, "ref"},
          {5, 1, 0, ~0ULL - 1, 0, std::string(300, 'b')}};
}

TEST_CASE("a block comes back: definitions, gaps, times that step back, every width", "[columns]") {
  BlockBuilder block;
  block.add({{kNameFrame, 1, 0, 0, 0}, as_bytes("loss"), 0});
  block.add({{kContextFrame, 1, 0, 7, -3}, as_bytes("[1]"), 0});
  block.add({{kContextFrame, 1, 7, 4294967295U, 1LL << 60}, {}, 0});
  for (const auto& record : sample()) add(block, record);
  BlockHeader header;
  const Bytes payload = block.finish(header);
  CHECK(header.records == 6);
  CHECK(header.first_seq == 5);
  CHECK(header.last_seq == ~0ULL - 1);
  CHECK(header.raw_bytes == payload.size());
  const Seen seen = decode(header, payload);
  CHECK(seen.definitions ==
        std::vector<std::string>{"1=loss", "7<0:1[-3][1]", "4294967295<7:1[1152921504606846976]"});
  CHECK(seen.records == sample());
}

TEST_CASE("a block may hold definitions alone, and a builder is used again", "[columns]") {
  BlockBuilder block;
  CHECK(block.empty());
  add(block, sample()[0]);
  block.clear();
  block.add({{kNameFrame, 4, 0, 0, 0}, as_bytes("n"), 0});
  CHECK_FALSE(block.empty());
  BlockHeader header;
  const Seen seen = decode(header, (block.finish(header)));
  CHECK(header.records == 0);
  CHECK(seen.definitions.size() == 1);
  CHECK(seen.records.empty());
}

TEST_CASE("a block cut at any length is refused", "[columns]") {
  BlockBuilder block;
  for (const auto& record : sample()) add(block, record);
  BlockHeader header;
  const Bytes payload = block.finish(header);
  for (std::size_t size = 0; size < payload.size(); ++size)
    CHECK_THROWS_AS(decode(header, payload.first(size)), Error);
}

TEST_CASE("a decoder given damaged payloads throws Corrupt or returns, and reads nothing outside",
          "[columns]") {
  BlockBuilder block;
  block.add({{kNameFrame, 1, 0, 0, 0}, as_bytes("loss"), 0});
  for (const auto& record : sample()) add(block, record);
  BlockHeader header;
  const Bytes payload = block.finish(header);
  std::mt19937 random(1);
  for (int round = 0; round < 20000; ++round) {
    Buffer bad(payload.begin(), payload.end());
    for (unsigned flips = 1 + random() % 4; flips > 0; --flips)
      bad[random() % bad.size()] = static_cast<std::byte>(random());
    BlockHeader claimed = header;
    if (round % 5 == 0) claimed.records = random() % 20;
    try {
      decode(claimed, bad);
    } catch (const Error& error) {
      REQUIRE(error.kind() == ErrorKind::kCorrupt);
    }
  }
}

TEST_CASE("heads of segments and blocks come back; damage is found", "[segment]") {
  const Buffer head = encode_segment_header({42, "r0-1-0"});
  CHECK(head.size() % 8 == 0);
  std::size_t size = 0;
  const auto back = read_segment_header(head, "s", &size);
  REQUIRE(back);
  CHECK(size == head.size());
  CHECK(back->number == 42);
  CHECK(back->writer == "r0-1-0");

  SECTION("CutHeadIsNothing") {
    for (std::size_t n = 0; n < head.size(); ++n)
      CHECK_FALSE(read_segment_header(Bytes(head).first(n), "s", &size));
  }
  SECTION("FlippedBitsAreCorruptOrNewer") {
    for (std::size_t bit = 0; bit < head.size() * 8; ++bit) {
      Buffer bad = head;
      bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      INFO("bit " << bit);
      try {
        // A head that claims to be longer than the file counts as cut.
        const bool cut = !read_segment_header(bad, "s", &size);
        CHECK(cut);
      } catch (const Error& error) {
        CHECK((error.kind() == ErrorKind::kCorrupt || error.kind() == ErrorKind::kNewerFormat));
      }
    }
  }
  SECTION("NewerVersion") {
    Buffer newer = head;
    store(newer.data() + 8, kSegmentVersion + 1);
    try {
      read_segment_header(newer, "s", &size);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kNewerFormat);
      CHECK(error.found() == "version 2");
    }
  }
}

TEST_CASE("a block head validates only where it was written", "[segment]") {
  BlockHeader header;
  header.stored_bytes = 10;
  header.records = 3;
  header.last_seq = 99;
  Buffer file(300);
  write_block_header(file.data() + 100, header, 100);
  REQUIRE(read_block_header(Bytes(file).subspan(100, kBlockHeaderBytes), 100));
  CHECK(read_block_header(Bytes(file).subspan(100, kBlockHeaderBytes), 100)->last_seq == 99);
  CHECK_FALSE(read_block_header(Bytes(file).subspan(100, kBlockHeaderBytes), 0));
  CHECK(find_block(file, 0) == 100);
  CHECK(find_block(file, 101) == std::nullopt);
}

}  // namespace
}  // namespace flor
