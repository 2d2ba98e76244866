#include "log/ring.h"

#include <catch2/catch.hpp>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "format/record_frame.h"
#include "log/temporary_folder.h"

namespace flor {
namespace {

using testing::TemporaryFolder;

std::unique_ptr<Ring> make(const TemporaryFolder& folder, std::uint64_t start = 0,
                           std::uint64_t capacity = 4096) {
  return Ring::create(folder.path() + "/w.0.ring", {0, capacity, 1, "w"}, start);
}

void put(Ring& ring, std::uint64_t seq, std::string_view text) {
  const std::size_t size = frame_size(text.size());
  std::byte* at = ring.reserve(size);
  REQUIRE(at != nullptr);
  write_frame(at, ring.write_position(), {4, 1, 0, seq, 0}, as_bytes(text));
  ring.commit(size);
}

TEST_CASE("a full ring gives no space until something is released", "[ring]") {
  const TemporaryFolder folder;
  const auto ring = make(folder);
  REQUIRE(ring->reserve(4096) != nullptr);
  CHECK(ring->reserve(4104) == nullptr);
  CHECK_FALSE(ring->commit(2048));
  CHECK(ring->commit(2048));
  CHECK(ring->reserve(8) == nullptr);
  CHECK(ring->readable().size() == 4096);
  ring->release(1024);
  CHECK(ring->reserve(1024) != nullptr);
  CHECK(ring->reserve(1032) == nullptr);
}

TEST_CASE("frames run over the end of the data and over the wrap of positions", "[ring]") {
  const TemporaryFolder folder;
  // 2^64 - 5 * 4096: the positions wrap within a few laps, not at a lap's start.
  const auto ring = make(folder, 0 - std::uint64_t{5} * 4096 + 24);
  Frame frame;
  std::uint64_t position = ring->read_position();
  for (std::uint64_t seq = 0; seq < 3000; ++seq) {
    const std::string text(seq % 211, static_cast<char>('a' + seq % 26));
    put(*ring, seq, text);
    const Bytes bytes = ring->readable();
    REQUIRE(read_frame(bytes, position, frame) == FrameStatus::kOk);
    REQUIRE(frame.fields.seq == seq);
    REQUIRE(as_text(frame.payload) == text);
    position += frame.size;
    ring->release(frame.size);
  }
  CHECK(ring->read_position() < 1'000'000);  // it did wrap
}

TEST_CASE("one thread writes what the other reads, in order", "[ring]") {
  const TemporaryFolder folder;
  const auto ring = make(folder, 0 - std::uint64_t{40000});
  constexpr std::uint64_t kCount = 200'000;
  std::thread producer([&] {
    for (std::uint64_t seq = 0; seq < kCount; ++seq) {
      std::byte* at = nullptr;
      const std::size_t size = frame_size(8);
      while ((at = ring->reserve(size)) == nullptr) std::this_thread::yield();
      write_frame(at, ring->write_position(), {2, 1, 0, seq, 0}, std::as_bytes(std::span(&seq, 1)));
      ring->commit(size);
    }
  });
  std::uint64_t expected = 0, bad = 0;
  Frame frame;
  while (expected < kCount) {
    const Bytes bytes = ring->readable();
    std::size_t at = 0;
    for (; at < bytes.size(); at += frame.size) {
      if (read_frame(bytes.subspan(at), ring->read_position() + at, frame) != FrameStatus::kOk)
        ++bad;
      if (frame.fields.seq != expected++ || bad != 0) ++bad;
      if (bad != 0) break;
    }
    if (bad != 0) break;
    ring->release(at);
    if (bytes.empty()) std::this_thread::yield();
  }
  producer.join();
  CHECK(bad == 0);
}

TEST_CASE("a ring file appears whole, and a name is used once", "[ring]") {
  const TemporaryFolder folder;
  const auto ring = make(folder);
  CHECK(real_files().list(folder.path()) == std::vector<std::string>{"w.0.ring"});
  const auto file = real_files().map(ring->path());
  CHECK(read_ring_header(file->bytes(), ring->path()).writer == "w");
  CHECK(file->bytes().size() == 8192);
}

TEST_CASE("a bad ring size or name is Invalid and leaves no file", "[ring]") {
  const TemporaryFolder folder;
  CHECK_THROWS_AS(make(folder, 0, 5000), Error);
  CHECK_THROWS_AS(Ring::create(folder.path() + "/x", {0, 4096, 1, "a/b"}), Error);
  CHECK(real_files().list(folder.path()).empty());
}

}  // namespace
}  // namespace flor
