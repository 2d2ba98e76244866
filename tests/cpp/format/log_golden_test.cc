// The bytes that the log formats had in version 1, to the bit: a writer that changes them needs a
// new version. FLOR_WRITE_GOLDEN=1 writes the file anew (tests/golden/log_bytes).
#include <catch2/catch.hpp>

#include "format/ring_header.h"
#include "format/segment_columns.h"
#include "golden_file.h"

namespace flor {
namespace {

void put_frame(Buffer& out, const FrameFields& fields, std::string_view payload) {
  const std::size_t at = out.size();
  out.resize(at + frame_size(payload.size()));
  write_frame(out.data() + at, 1000 + at, fields, as_bytes(payload));
}

std::vector<Frame> frames(Bytes bytes) {
  std::vector<Frame> out;
  for (std::size_t at = 0; at < bytes.size(); at += out.back().size) {
    out.emplace_back();
    REQUIRE(read_frame(bytes.subspan(at), 1000 + at, out.back()) == FrameStatus::kOk);
  }
  return out;
}

Buffer make() {
  Buffer ring;
  const std::int64_t t = 1'700'000'000'000'000'000;
  put_frame(ring, {kNameFrame, 1, 0, 0, 0}, "loss");
  put_frame(ring, {kNameFrame, 2, 0, 0, 0}, "epoch");
  put_frame(ring, {kContextFrame, 2, 0, 1, 3}, "[3]");
  put_frame(ring, {3, 1, 1, 0, t}, std::string_view("\0\0\0\0\0\0\xe0?", 8));
  put_frame(ring, {1, 1, 1, 1, t + 5}, "\1");
  put_frame(ring, {4, 1, 0, 3, t + 4}, "text");
  put_frame(ring, {0x87, 1, 1, 4, t + 900}, "reference");
  Buffer out(kRingWritePosition);
  write_ring_header(out.data(), {7, 4096, 42, "r0-42-0"});
  out.insert(out.end(), ring.begin(), ring.end());
  BlockBuilder block;
  for (const Frame& frame : frames(ring)) block.add(frame);
  BlockHeader header;
  const Bytes payload = block.finish(header);
  header.stored_bytes = header.raw_bytes;
  header.payload_checksum = checksum64(payload);
  const Buffer head = encode_segment_header({5, "r0-42-0"});
  out.insert(out.end(), head.begin(), head.end());
  const std::size_t at = out.size();
  out.resize(at + kBlockHeaderBytes);
  write_block_header(out.data() + at, header, head.size());
  out.insert(out.end(), payload.begin(), payload.end());
  return out;
}

TEST_CASE("the log formats write the bytes of version 1", "[golden]") {
  const Buffer made = make();
  CHECK(testing::golden_file("log_bytes", made) == made);
}

}  // namespace
}  // namespace flor
