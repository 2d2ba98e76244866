// Record frames, ring heads, log file names.
#include <catch2/catch.hpp>

#include "base/error.h"
#include "format/log_names.h"
#include "format/record_frame.h"
#include "format/ring_header.h"

namespace flor {
namespace {

constexpr std::uint8_t kFloat = static_cast<std::uint8_t>(ValueKind::kFloat64);
constexpr std::uint8_t kString = static_cast<std::uint8_t>(ValueKind::kString);

Buffer frame_at(std::uint64_t position, const FrameFields& fields, Bytes payload) {
  Buffer out(frame_size(payload.size()));
  write_frame(out.data(), position, fields, payload);
  return out;
}

TEST_CASE("a frame comes back as it was written", "[frame]") {
  const std::string text = "thirteen char";
  const Buffer bytes = frame_at(800, {kString, 0xabcdef, 7, ~0ULL, -5}, as_bytes(text));
  REQUIRE(bytes.size() == 48);
  Frame frame;
  REQUIRE(read_frame(bytes, 800, frame) == FrameStatus::kOk);
  CHECK(frame.fields.kind == kString);
  CHECK(frame.fields.name == 0xabcdef);
  CHECK(frame.fields.context == 7);
  CHECK(frame.fields.seq == ~0ULL);
  CHECK(frame.fields.time_ns == -5);
  CHECK(as_text(frame.payload) == text);
  CHECK(frame.size == 48);
}

TEST_CASE("a frame of an earlier lap does not validate at its old place", "[frame]") {
  const Buffer bytes = frame_at(4096, {kString, 1, 0, 0, 0}, as_bytes("x"));
  Frame frame;
  CHECK(read_frame(bytes, 4096, frame) == FrameStatus::kOk);
  CHECK(read_frame(bytes, 8192, frame) == FrameStatus::kBadChecksum);
}

TEST_CASE("every flipped bit of a frame is found", "[frame]") {
  const double value = 0.25;
  const Buffer good = frame_at(64, {kFloat, 3, 9, 11, 12}, std::as_bytes(std::span(&value, 1)));
  for (std::size_t bit = 0; bit < good.size() * 8; ++bit) {
    Buffer bad = good;
    bad[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    Frame frame;
    INFO("bit " << bit);
    CHECK(read_frame(bad, 64, frame) != FrameStatus::kOk);
  }
}

TEST_CASE("a frame cut short is found at every length", "[frame]") {
  const Buffer good = frame_at(0, {kString, 1, 0, 0, 0}, as_bytes("some text"));
  Frame frame;
  for (std::size_t size = 0; size < good.size(); ++size)
    CHECK(read_frame(Bytes(good).first(size), 0, frame) != FrameStatus::kOk);
}

TEST_CASE("a frame with a right checksum and a wrong grammar is refused", "[frame]") {
  Frame frame;
  CHECK(read_frame(frame_at(0, {kFloat, 1, 0, 0, 0}, as_bytes("123")), 0, frame) ==
        FrameStatus::kBadGrammar);
  CHECK(read_frame(frame_at(0, {kString, 0, 0, 0, 0}, as_bytes("1")), 0, frame) ==
        FrameStatus::kBadGrammar);
  CHECK(read_frame(frame_at(0, {9, 1, 0, 0, 0}, {}), 0, frame) == FrameStatus::kBadGrammar);
  CHECK(read_frame(frame_at(0, {kContextFrame, 1, 0, 0, 0}, {}), 0, frame) ==
        FrameStatus::kBadGrammar);
  CHECK_FALSE(is_record_kind(0x80));
  CHECK_FALSE(is_record_kind(0x83));
  CHECK(is_record_kind(0x84));
  CHECK(is_record_kind(0x87));
  CHECK_FALSE(is_record_kind(0x88));
}

Buffer ring_file(const RingHeader& header) {
  Buffer file(kRingHeaderBytes + header.capacity_bytes);
  write_ring_header(file.data(), header);
  return file;
}

ErrorKind kind_of_reading(const Buffer& file) {
  try {
    read_ring_header(file, "a.ring");
  } catch (const Error& error) {
    CHECK(error.path() == "a.ring");
    return error.kind();
  }
  FAIL("no error");
  return ErrorKind::kIo;
}

TEST_CASE("the head of a ring comes back, and each kind of damage has its error", "[ring]") {
  const RingHeader header{3, 4096, 77, "r0-77-1"};
  const Buffer good = ring_file(header);
  const RingHeader back = read_ring_header(good, "a.ring");
  CHECK(back.ring_id == 3);
  CHECK(back.capacity_bytes == 4096);
  CHECK(back.process_id == 77);
  CHECK(back.writer == "r0-77-1");

  SECTION("ShorterThanItsHead") { CHECK(kind_of_reading(Buffer(100)) == ErrorKind::kCorrupt); }
  SECTION("ShorterThanItsData") {
    Buffer bad = good;
    bad.resize(bad.size() - 1);
    CHECK(kind_of_reading(bad) == ErrorKind::kCorrupt);
  }
  SECTION("WrongMagic") {
    Buffer bad = good;
    bad[0] = std::byte{'X'};
    CHECK(kind_of_reading(bad) == ErrorKind::kCorrupt);
  }
  SECTION("WrongChecksum") {
    Buffer bad = good;
    bad[40] ^= std::byte{1};
    CHECK(kind_of_reading(bad) == ErrorKind::kCorrupt);
  }
  SECTION("NewerVersion") {
    Buffer bad = good;
    store(bad.data() + 8, kRingVersion + 1);
    CHECK(kind_of_reading(bad) == ErrorKind::kNewerFormat);
  }
}

TEST_CASE("ring sizes and writer names have rules", "[ring]") {
  CHECK_NOTHROW(check_ring_bytes(4096));
  CHECK_NOTHROW(check_ring_bytes(std::uint64_t{1} << 30));
  for (const std::uint64_t bad : {0ULL, 2048ULL, 5000ULL, 1ULL << 31})
    CHECK_THROWS_AS(check_ring_bytes(bad), Error);
  CHECK_NOTHROW(check_writer_name("r0-1.x_2"));
  for (const char* bad : {"", "a/b", "a b", "\xc3\xa4"})
    CHECK_THROWS_AS(check_writer_name(bad), Error);
  CHECK_THROWS_AS(check_writer_name(std::string(129, 'a')), Error);
}

TEST_CASE("log file names parse back, whatever the writer name holds", "[names]") {
  CHECK(ring_name("w", 12) == "w.12.ring");
  CHECK(segment_name("w", 12) == "w.000012.seg");
  CHECK(segment_name("w", 1234567) == "w.1234567.seg");
  const auto parsed = parse_log_name("a.7.seg.000003.seg");
  REQUIRE(parsed);
  CHECK(parsed->writer == "a.7.seg");
  CHECK(parsed->number == 3);
  CHECK(parsed->type == LogFileType::kSegment);
  for (const char* other :
       {"", "x", "w.ring", ".1.ring", "w.x.ring", "w.1.ring.tmp", "w.1x.seg", "w..seg", "run.json"})
    CHECK_FALSE(parse_log_name(other));
}

}  // namespace
}  // namespace flor
