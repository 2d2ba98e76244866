#include "snapshot/unchanged_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <random>

#include "faulty_files.h"
#include "snapshot/snapshotter.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::FaultyFiles;
using testing::noise;

constexpr std::size_t kMiB = 1 << 20;

// Takes checkpoints of live memory and compares each with the memory as it was.
class Bench {
 public:
  explicit Bench(Contract contract = Contract::kEager) : contract_(contract) {
    disk_.write_atomically("s/flor.json", as_bytes("{}"));
    ChunkStoreOptions options;
    options.files = &disk_;
    store_ = std::make_shared<ChunkStore>("s", options);
    snapshotter_ = std::make_unique<Snapshotter>(store_, SnapshotterOptions{});
  }

  // Returns how many bytes were known.
  std::uint64_t checkpoint(std::span<const MutableBytes> memory) {
    std::vector<Region> regions;
    std::vector<Buffer> before;
    for (const Bytes each : memory) {
      regions.push_back({each, contract_, 0, true});
      before.emplace_back(each.begin(), each.end());
    }
    const std::uint64_t known = snapshotter_->stats().unchanged_bytes;
    const std::string path = "s/c/" + std::to_string(count_++);
    REQUIRE(snapshotter_->take(regions, path, {})->wait({}));
    snapshotter_->drain();
    const Manifest manifest = decode_manifest(disk_.map(path)->bytes(), path);
    for (std::size_t i = 0; i < before.size(); ++i)
      REQUIRE(store_->get(manifest.regions[i]) == before[i]);
    return snapshotter_->stats().unchanged_bytes - known;
  }
  std::uint64_t checkpoint(MutableBytes memory) { return checkpoint(std::span(&memory, 1)); }
  // Until the memory is known.
  void settle(MutableBytes memory) {
    for (int i = 0; i < 3; ++i) CHECK(checkpoint(memory) == 0);
    REQUIRE(checkpoint(memory) == memory.size());
  }
  FaultyFiles& disk() { return disk_; }
  Snapshotter& snapshotter() { return *snapshotter_; }

 private:
  const Contract contract_;
  FaultyFiles disk_;
  std::shared_ptr<ChunkStore> store_;
  std::unique_ptr<Snapshotter> snapshotter_;
  int count_ = 0;
};

// Memory of our own, filled with noise.
class Mapping {
 public:
  explicit Mapping(std::size_t bytes, int flags = MAP_PRIVATE | MAP_ANONYMOUS) {
    void* const at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    REQUIRE(at != MAP_FAILED);
    bytes_ = {static_cast<std::byte*>(at), bytes};
    fill(1);
  }
  ~Mapping() { ::munmap(bytes_.data(), bytes_.size()); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  MutableBytes bytes() const { return bytes_; }
  void fill(std::uint64_t seed) const {
    const Buffer content = noise(bytes_.size(), seed);
    std::memcpy(bytes_.data(), content.data(), content.size());
  }

 private:
  MutableBytes bytes_;
};

}  // namespace

TEST_CASE("memory that never changes is copied three times, whatever its contract") {
  if (!WriteTracker::is_supported()) return;
  const auto contract = GENERATE(Contract::kEager, Contract::kCooperative, Contract::kProtected);
  Bench bench(contract);
  const Mapping mapping(5 * kMiB);
  bench.settle(mapping.bytes());
  CHECK(bench.checkpoint(mapping.bytes()) == 5 * kMiB);
  mapping.bytes()[2 * kMiB + 77] ^= std::byte{1};
  CHECK(bench.checkpoint(mapping.bytes()) == 4 * kMiB);
  CHECK(bench.checkpoint(mapping.bytes()) == 4 * kMiB);  // alike once
  CHECK(bench.checkpoint(mapping.bytes()) == 4 * kMiB);  // tracked
  CHECK(bench.checkpoint(mapping.bytes()) == 5 * kMiB);
}

TEST_CASE("whatever is written between checkpoints, each is the state at its instant") {
  const auto contract =
      GENERATE(Contract::kEager, Contract::kCooperative, Contract::kProtected, Contract::kTracked);
  Bench bench(contract);
  std::mt19937_64 random(7);
  // Odd addresses and lengths: pieces share their first and last page with what is beside them.
  std::vector<Buffer> state;
  for (const std::size_t count : {std::size_t{100}, 65'537 + kMiB, 3 * kMiB + 11, 2 * kMiB, kMiB})
    state.push_back(noise(count, count));
  std::vector<MutableBytes> memory(state.begin(), state.end());
  memory[2] = memory[2].subspan(3);
  std::uint64_t known = 0;
  for (int round = 0; round < 60; ++round) {
    for (int writes = static_cast<int>(random() % 4); writes > 0; --writes) {
      const MutableBytes target = memory[random() % memory.size()];
      const std::size_t at =
          random() % 3 == 0 ? (random() % 2) * (target.size() - 1) : random() % target.size();
      target[at] = static_cast<std::byte>(random());
    }
    if (random() % 8 == 0) memory[random() % memory.size()][0] ^= std::byte{1};
    known += bench.checkpoint(memory);
  }
  CHECK((!WriteTracker::is_supported() || known > 0));
}

TEST_CASE("memory that was freed and mapped again is not the same") {
  if (!WriteTracker::is_supported()) return;
  Bench bench;
  const Mapping mapping(2 * kMiB);
  const MutableBytes memory = mapping.bytes();
  bench.settle(memory);
  SECTION("mapped anew at the same address") {
    const Buffer content(memory.begin(), memory.end());
    REQUIRE(::munmap(memory.data(), memory.size()) == 0);
    REQUIRE(::mmap(memory.data(), memory.size(), PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == memory.data());
    std::memcpy(memory.data(), content.data(), content.size());
    memory[kMiB / 2] ^= std::byte{1};
  }
  SECTION("given back, so that it reads as zeros") {
    REQUIRE(::madvise(memory.data(), memory.size(), MADV_DONTNEED) == 0);
  }
  SECTION("a part given back and touched again") {
    REQUIRE(::madvise(memory.data() + kMiB, 4096, MADV_DONTNEED) == 0);
    CHECK(*static_cast<volatile std::byte*>(memory.data() + kMiB) == std::byte{0});
  }
  CHECK(bench.checkpoint(memory) < memory.size());
}

TEST_CASE("writers that no page of ours sees coming") {
  if (!WriteTracker::is_supported()) return;
  Bench bench;
  SECTION("a system call") {
    const Mapping mapping(kMiB);
    bench.settle(mapping.bytes());
    const int file = ::open("/dev/zero", O_RDONLY);
    REQUIRE(::read(file, mapping.bytes().data() + 5000, 10) == 10);
    ::close(file);
    CHECK(bench.checkpoint(mapping.bytes()) == 0);
  }
  SECTION("another process, to shared memory") {
    const Mapping mapping(kMiB, MAP_SHARED | MAP_ANONYMOUS);
    for (std::uint64_t round = 0; round < 6; ++round) {
      CHECK(bench.checkpoint(mapping.bytes()) == 0);
      if (round < 4) continue;
      const pid_t child = ::fork();
      if (child == 0) {
        std::memset(mapping.bytes().data() + 5000, static_cast<int>(round), 100);
        ::_exit(0);
      }
      ::waitpid(child, nullptr, 0);
    }
  }
  SECTION("a child's copy is its own") {
    const Mapping mapping(kMiB);
    bench.settle(mapping.bytes());
    const pid_t child = ::fork();
    if (child == 0) {
      std::memset(mapping.bytes().data(), 3, 10'000);
      ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
    CHECK(bench.checkpoint(mapping.bytes()) == kMiB);
    mapping.bytes()[9000] ^= std::byte{1};
    CHECK(bench.checkpoint(mapping.bytes()) == 0);
  }
}

TEST_CASE("what a failed checkpoint found is not known") {
  if (!WriteTracker::is_supported()) return;
  Bench bench;
  const Mapping mapping(kMiB);
  const MutableBytes memory = mapping.bytes();
  for (int i = 0; i < 2; ++i) CHECK(bench.checkpoint(memory) == 0);
  const Region region{memory, Contract::kEager, 0, true};
  bench.disk().fail_at(1);
  const auto failing = bench.snapshotter().take(std::span(&region, 1), "s/c/failing", {});
  CHECK_THROWS(failing->wait({}));
  CHECK(bench.checkpoint(memory) == 0);  // alike again
  CHECK(bench.checkpoint(memory) == 0);  // tracked
  CHECK(bench.checkpoint(memory) == kMiB);
}

TEST_CASE("two regions that show the same memory") {
  Bench bench;
  const Mapping mapping(3 * kMiB);
  const std::vector<MutableBytes> memory{mapping.bytes(), mapping.bytes().subspan(kMiB),
                                         mapping.bytes()};
  for (int round = 0; round < 12; ++round) {
    bench.checkpoint(memory);
    if (round % 4 == 3) mapping.bytes()[kMiB + static_cast<std::size_t>(round)] ^= std::byte{1};
  }
}

}  // namespace flor
