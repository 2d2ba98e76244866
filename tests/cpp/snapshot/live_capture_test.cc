#include "snapshot/live_capture.h"

#include <sys/mman.h>

#include <catch2/catch.hpp>
#include <thread>

#include "base/error.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::noise;

constexpr std::size_t kMiB = 1 << 20;

// Plays the snapshotter: keeps the parts, or reads them on a thread of its own.
class Reader final : public CaptureSink {
 public:
  explicit Reader(std::size_t regions) : content(regions) {}
  void accept(std::unique_ptr<StagedPart> part) override { parts_.push_back(std::move(part)); }
  Refuse refusal() override {
    return [this](std::exception_ptr why) {
      const std::lock_guard lock(mutex_);
      refused_ = std::move(why);
    };
  }
  // Reads all parts, one after the other, and lets go of them.
  void read() noexcept try {
    for (auto& part : parts_) {
      for (const StagedPiece& piece : part->pin()) {
        Buffer& region = content[piece.region];
        const std::size_t begin = piece.first_chunk * kChunkBytes;
        region.resize(std::max(region.size(), begin + piece.bytes.size()));
        std::copy(piece.bytes.begin(), piece.bytes.end(), region.begin() + begin);
      }
      part.reset();
    }
  } catch (const Error& error) {
    parts_.clear();
    REQUIRE(error.kind() == ErrorKind::kRefused);
  }
  bool refused() {
    const std::lock_guard lock(mutex_);
    return refused_ != nullptr;
  }

  std::vector<Buffer> content;

 private:
  static constexpr std::size_t kChunkBytes = 64 << 10;
  std::vector<std::unique_ptr<StagedPart>> parts_;
  std::mutex mutex_;
  std::exception_ptr refused_;
};

std::vector<Buffer> state_of(std::uint64_t seed) {
  std::vector<Buffer> state;
  for (const std::size_t count : {std::size_t{0}, std::size_t{9}, 65'536 + std::size_t{1}, kMiB + 3,
                                  3 * kMiB, 5 * kMiB + 70'001})
    state.push_back(noise(count, seed + count));
  return state;
}

std::vector<Region> regions_of(const std::vector<Buffer>& state, Contract contract) {
  std::vector<Region> regions;
  for (const Buffer& buffer : state) regions.push_back({buffer, contract});
  return regions;
}

void overwrite(std::vector<Buffer>& state) {
  for (Buffer& buffer : state)
    for (std::byte& each : buffer) each ^= std::byte{0x5A};
}

bool can_test(Contract contract) {
  if (contract == Contract::kTracked) return WriteTracker::is_supported();
  return contract == Contract::kProtected ? WriteGuard::is_supported() : can_copy_live();
}

}  // namespace

TEST_CASE("a writer that settles first never spoils a snapshot being read") {
  const auto contract = GENERATE(Contract::kCooperative, Contract::kTracked);
  if (!can_test(contract)) return;
  LiveCapture capture(StagingArena::make(64 * kMiB), 2);
  std::vector<Buffer> state = state_of(1);
  for (int round = 0; round < 20; ++round) {
    const std::vector<Buffer> before = state;
    Reader reader(state.size());
    capture.capture(regions_of(state, contract), reader);
    std::thread background([&] { reader.read(); });
    if (round % 4 != 0) std::this_thread::sleep_for(std::chrono::microseconds(100 * round));
    capture.settle();
    overwrite(state);
    background.join();
    REQUIRE(!reader.refused());
    REQUIRE(reader.content == before);
  }
}

TEST_CASE("protected memory may be written by anyone, from several threads") {
  if (!can_test(Contract::kProtected)) return;
  LiveCapture capture(StagingArena::make(64 * kMiB), 2);
  std::vector<Buffer> state = state_of(2);
  for (int round = 0; round < 10; ++round) {
    const std::vector<Buffer> before = state;
    Reader first(state.size()), second(state.size());
    capture.capture(regions_of(state, Contract::kProtected), first);
    capture.capture(regions_of(state, Contract::kProtected), second);
    std::thread one([&] { first.read(); }), two([&] { second.read(); });
    std::thread writer([&] { std::fill(state[4].begin(), state[4].end(), std::byte{1}); });
    std::fill(state[5].rbegin(), state[5].rend(), std::byte{2});
    if (round % 2 == 0) capture.settle();
    writer.join(), one.join(), two.join();
    REQUIRE(first.content == before);
    REQUIRE(second.content == before);
  }
  CHECK(capture.stats().refused == 0);
}

TEST_CASE("a write that nobody announced is refused, and its memory copied at once from then on") {
  if (!can_test(Contract::kCooperative)) return;
  LiveCapture capture(StagingArena::make(64 * kMiB), 1);
  std::vector<Buffer> state = state_of(3);
  Reader refused(state.size());
  capture.capture(regions_of(state, Contract::kCooperative), refused);
  overwrite(state);
  refused.read();
  CHECK(refused.refused());
  CHECK(capture.stats().refused == 1);
  // What was found out is eager now; what was not yet is refused again, three times at most.
  for (int round = 0; round < 6; ++round) {
    const std::vector<Buffer> before = state;
    Reader reader(state.size());
    capture.capture(regions_of(state, Contract::kCooperative), reader);
    overwrite(state);
    reader.read();
    REQUIRE((reader.refused() || reader.content == before));
    if (round >= 2) REQUIRE(!reader.refused());
  }
  CHECK(capture.stats().refused <= 3);
}

TEST_CASE("snapshots of memory that overlaps in part let writers go, and are exact") {
  const auto contract = GENERATE(Contract::kProtected, Contract::kTracked);
  if (!can_test(contract)) return;
  LiveCapture capture(StagingArena::make(64 * kMiB), 1);
  Buffer memory = noise(6 * kMiB, 9);
  const Buffer before = memory;
  const Bytes all = memory, part = all.subspan(kMiB / 2 + 64, 3 * kMiB);
  Reader first(1), second(1);
  const std::vector<Region> wide{{all, contract}}, narrow{{part, contract}};
  capture.capture(wide, first);
  capture.capture(narrow, second);
  if (contract == Contract::kTracked) capture.settle();
  for (std::size_t i = 0; i < memory.size(); i += 1000) memory[i] ^= std::byte{1};
  first.read();
  second.read();
  CHECK(first.content[0] == before);
  CHECK(second.content[0] ==
        Buffer(before.begin() + kMiB / 2 + 64, before.begin() + kMiB / 2 + 64 + 3 * kMiB));
}

TEST_CASE("one byte written unseen is refused when tracked") {
  if (!can_test(Contract::kTracked)) return;
  LiveCapture capture(StagingArena::make(64 * kMiB), 1);
  std::vector<Buffer> state{noise(3 * kMiB, 8)};
  Reader clean(1), written(1), eager(1);
  capture.capture(regions_of(state, Contract::kTracked), clean);
  clean.read();
  CHECK(clean.content == state);
  state[0][1'500'000] ^= std::byte{1};  // after it was read: no harm
  capture.capture(regions_of(state, Contract::kTracked), written);
  state[0][1'500'000] ^= std::byte{1};
  written.read();
  CHECK(!clean.refused());
  CHECK(written.refused());
  const std::vector<Buffer> before = state;
  capture.capture(regions_of(state, Contract::kTracked), eager);
  state[0][1'500'000] ^= std::byte{1};
  eager.read();
  CHECK(eager.content == before);
}

TEST_CASE("a write after the read is found at the next settle") {
  if (!can_test(Contract::kCooperative)) return;
  LiveCapture capture(StagingArena::make(64 * kMiB), 1);
  std::vector<Buffer> state{noise(2 * kMiB, 4)};
  struct Keep final : CaptureSink {
    std::unique_ptr<StagedPart> part;
    bool refused = false;
    void accept(std::unique_ptr<StagedPart> given) override { part = std::move(given); }
    Refuse refusal() override {
      return [this](const std::exception_ptr&) { refused = true; };
    }
  } keep;
  capture.capture(regions_of(state, Contract::kCooperative), keep);
  keep.part->pin();
  overwrite(state);
  capture.settle();
  CHECK(keep.refused);
}

TEST_CASE("memory that is unmapped during a snapshot is refused") {
  for (const Contract contract :
       {Contract::kCooperative, Contract::kProtected, Contract::kTracked}) {
    if (!can_test(contract)) continue;
    LiveCapture capture(StagingArena::make(64 * kMiB), 1);
    void* const at =
        ::mmap(nullptr, 4 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(at != MAP_FAILED);
    const Bytes memory{static_cast<std::byte*>(at), 4 * kMiB};
    Reader reader(1);
    const std::vector<Region> regions{{memory, contract}};
    capture.capture(regions, reader);
    ::munmap(at, 4 * kMiB);
    capture.settle();
    reader.read();
    CHECK(reader.refused());
  }
}

TEST_CASE("memory that was never touched is protected too") {
  if (!can_test(Contract::kProtected)) return;
  LiveCapture capture(StagingArena::make(64 * kMiB), 1);
  void* const at =
      ::mmap(nullptr, 4 * kMiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(at != MAP_FAILED);
  const MutableBytes memory{static_cast<std::byte*>(at), 4 * kMiB};
  Reader reader(1);
  const std::vector<Region> regions{{memory, Contract::kProtected}};
  capture.capture(regions, reader);
  std::fill(memory.begin(), memory.end(), std::byte{7});
  reader.read();
  CHECK(reader.content[0] == Buffer(4 * kMiB));
  ::munmap(at, 4 * kMiB);
}

TEST_CASE("what the arena has no room for is copied in the call, from where the room ended") {
  if (!can_test(Contract::kCooperative)) return;
  LiveCapture capture(StagingArena::make(8 * kMiB + 8 * kMiB), 1);
  std::vector<Buffer> state{noise(11 * kMiB + 5, 5), noise(kMiB, 6)};
  const std::vector<Buffer> before = state;
  Reader reader(state.size());
  capture.capture(regions_of(state, Contract::kCooperative), reader);
  capture.settle();
  overwrite(state);
  reader.read();
  CHECK(reader.content == before);
}

}  // namespace flor
