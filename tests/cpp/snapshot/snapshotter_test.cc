#include "snapshot/snapshotter.h"

#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <thread>

#include "faulty_files.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::failure;
using testing::FaultyFiles;
using testing::noise;
using testing::text;

struct Bench {
  FaultyFiles disk;
  std::shared_ptr<ChunkStore> store;

  Bench() {
    disk.write_atomically("s/flor.json", as_bytes("{}"));
    store = open(false);
  }
  std::shared_ptr<ChunkStore> open(bool readonly) {
    ChunkStoreOptions options;
    options.files = &disk;
    options.readonly = readonly;
    return std::make_shared<ChunkStore>("s", options);
  }
  // Whether the checkpoint is there; fails when it is there and is not `expected`.
  bool holds(const std::string& path, const std::vector<Buffer>& expected) {
    if (!disk.exists(path)) return false;
    const Manifest manifest = decode_manifest(disk.map(path)->bytes(), path);
    const auto reader = open(true);
    REQUIRE(manifest.regions.size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i)
      REQUIRE(reader->get(manifest.regions[i]) == expected[i]);
    return true;
  }
};

std::vector<Region> regions_of(const std::vector<Buffer>& state) {
  std::vector<Region> out;
  for (const Buffer& buffer : state) out.push_back({buffer});
  return out;
}

std::vector<Buffer> state_of(std::uint64_t seed) {
  std::vector<Buffer> state;
  for (const std::size_t count : {0, 1, 100, 65536, 65537, 300'000, 5})
    state.push_back(noise(count, seed + count)), state.push_back(text(count, seed));
  return state;
}

}  // namespace

TEST_CASE("a checkpoint is the state at its instant, whatever is written afterwards") {
  Bench bench;
  Snapshotter snapshotter(bench.store, {});
  std::vector<Buffer> state = state_of(1);
  const std::vector<Buffer> before = state;
  const auto pending = snapshotter.take(regions_of(state), "s/c/1.ckpt", as_bytes("meta"));
  for (Buffer& buffer : state) std::fill(buffer.begin(), buffer.end(), std::byte{0xEE});
  CHECK(pending->wait({}));
  CHECK(pending->done());
  CHECK(bench.holds("s/c/1.ckpt", before));
  CHECK(pending->raw_bytes() == 2 * (1 + 100 + 65536 + 65537 + 300'000 + 5));
  CHECK(pending->stored_bytes() > 0);
  CHECK(!snapshotter.error());
}

TEST_CASE("checkpoints between two keys are differences; every one reads back") {
  Bench bench;
  Snapshotter snapshotter(bench.store, {.key_interval = 3});
  const auto at_step = [](std::uint32_t step) {
    std::vector<Buffer> state{Buffer(400'000), text(500, 1)};
    const Buffer random = noise(400'000, 7), moves = noise(400'000, 50 + step);
    for (std::size_t i = 0; i < state[0].size(); i += 4) {
      const auto r = load<std::uint32_t>(random.data() + i);
      const std::uint32_t moved = load<std::uint32_t>(moves.data() + i) >> 22;
      flor::store(state[0].data() + i, (r & 0x803FFFFF) + ((110 + r % 8) << 23) + moved);
    }
    return state;
  };
  std::vector<std::uint64_t> stored;
  for (std::uint32_t step = 0; step < 7; ++step) {
    const std::vector<Buffer> state = at_step(step);
    const auto pending = snapshotter.take(regions_of(state), "s/c/" + std::to_string(step), {});
    pending->wait({});
    snapshotter.drain();
    stored.push_back(pending->stored_bytes());
  }
  for (std::uint32_t step = 0; step < 7; ++step)
    REQUIRE(bench.holds("s/c/" + std::to_string(step), at_step(step)));
  for (const std::size_t key : {0, 3, 6}) CHECK(stored[key] > 300'000);
  for (const std::size_t between : {1, 2, 4, 5}) CHECK(stored[between] < 200'000);
}

TEST_CASE("an empty state makes a checkpoint") {
  Bench bench;
  Snapshotter snapshotter(bench.store, {});
  snapshotter.take({}, "s/c/0.ckpt", {})->wait({});
  CHECK(bench.holds("s/c/0.ckpt", {}));
}

TEST_CASE("a state larger than the staging memory passes through in slices") {
  for (const std::size_t budget : {std::size_t{1}, std::size_t{100'000}, std::size_t{1} << 20})
    for (const std::size_t threads : {1, 3}) {
      Bench bench;
      Snapshotter snapshotter(bench.store, {budget, threads});
      std::vector<Buffer> state = state_of(2);
      state.push_back(noise(3 << 20, 77));
      for (int i = 0; i < 3; ++i) {
        const std::string path = "s/c/" + std::to_string(i) + ".ckpt";
        state[3][0] = static_cast<std::byte>(i);
        snapshotter.take(regions_of(state), path, {})->wait({});
        REQUIRE(bench.holds(path, state));
      }
      CHECK(snapshotter.stats().waits > 0);
      CHECK(snapshotter.stats().arena_bytes <= std::max<std::size_t>(budget, kChunkBytes));
      CHECK(snapshotter.stats().staged_bytes == 0);
    }
}

TEST_CASE("staging memory is used again") {
  Bench bench;
  Snapshotter snapshotter(bench.store, {});
  const std::vector<Buffer> state = {noise(1 << 20, 1)};
  for (int i = 0; i < 5; ++i)
    snapshotter.take(regions_of(state), "s/c/" + std::to_string(i) + ".ckpt", {})->wait({});
  CHECK(snapshotter.stats().arena_bytes == 8 << 20);
  CHECK(snapshotter.stats().taken == 5);
}

TEST_CASE("staging memory is warmed within the budget, beside checkpoints") {
  Bench bench;
  Snapshotter snapshotter(bench.store, {std::size_t{32} << 20, 2});
  snapshotter.warm_up(std::size_t{1} << 40);
  const std::vector<Buffer> state = {noise(40 << 20, 1)};
  snapshotter.take(regions_of(state), "s/c/1.ckpt", {})->wait({});
  CHECK(bench.holds("s/c/1.ckpt", state));
  snapshotter.close();
  snapshotter.warm_up(1);
  CHECK(snapshotter.stats().arena_bytes == 32 << 20);
  CHECK(snapshotter.stats().staged_bytes == 0);
}

TEST_CASE("a region of new raw chunks lies in one piece in its pack, across blocks and parts") {
  Bench bench;
  Snapshotter snapshotter(bench.store, {});
  const std::vector<Buffer> state = {noise(20'000, 1), noise(40 << 20, 2), noise(9 << 20, 3)};
  snapshotter.take(regions_of(state), "s/c/1.ckpt", {})->wait({});
  const Manifest manifest = decode_manifest(bench.disk.map("s/c/1.ckpt")->bytes(), "");
  for (const ContentRef& region : manifest.regions) CHECK(bench.store->is_contiguous(region));
}

TEST_CASE(
    "a failure at any call: the manifest is whole or absent, the error is told, the next one "
    "works") {
  int failures = 0;
  for (const int errno_value : {EIO, ENOSPC})
    for (int call = 1; call < 16; ++call) {
      Bench bench;
      Snapshotter snapshotter(bench.store, {});
      std::vector<Buffer> state = state_of(3);
      bench.disk.fail_at(call, errno_value);
      const auto pending = snapshotter.take(regions_of(state), "s/c/1.ckpt", as_bytes("m"));
      const auto kind = failure([&] { pending->wait({}); });
      REQUIRE(bench.holds("s/c/1.ckpt", state) == !kind);
      REQUIRE(snapshotter.error().has_value() == kind.has_value());
      REQUIRE(pending->error().has_value() == kind.has_value());
      if (kind) REQUIRE(*kind == (errno_value == EIO ? ErrorKind::kIo : ErrorKind::kFullDisk));
      failures += kind.has_value();
      bench.disk.fail_at(0);
      snapshotter.take(regions_of(state), "s/c/2.ckpt", as_bytes("m"))->wait({});
      bench.disk.crash();  // and what is there survives a power loss
      REQUIRE(bench.holds("s/c/2.ckpt", state));
      if (!kind) REQUIRE(bench.holds("s/c/1.ckpt", state));
    }
  CHECK(failures >= 10);
}

TEST_CASE("a disk that fills up at any byte: the manifest is whole or absent") {
  for (std::uint64_t space = 0; space < 900'000; space += 37'003) {
    Bench bench;
    Snapshotter snapshotter(bench.store, {});
    const std::vector<Buffer> state = state_of(4);
    bench.disk.space_bytes = space;
    const auto pending = snapshotter.take(regions_of(state), "s/c/1.ckpt", {});
    const bool failed = failure([&] { pending->wait({}); }).has_value();
    REQUIRE(bench.holds("s/c/1.ckpt", state) == !failed);
  }
}

TEST_CASE("takes, puts and reads from several threads at once") {
  Bench bench;
  Snapshotter snapshotter(bench.store, {std::size_t{4} << 20, 2});
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (std::uint64_t t = 0; t < 3; ++t)
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < 8; ++i) {
        std::vector<Buffer> state = {noise(200'000, i), text(100'000, t),
                                     noise(70'000, 100 * t + i)};
        const std::string path = "s/c/" + std::to_string(t) + "-" + std::to_string(i) + ".ckpt";
        const auto pending = snapshotter.take(regions_of(state), path, {});
        std::memset(state[0].data(), 0, state[0].size());
        const ContentRef ref = bench.store->put(noise(1000, i + t));
        if (bench.store->get(ref) != noise(1000, i + t)) ++wrong;
        if (i % 3 == 0) bench.store->sync();
        if (!pending->wait({})) ++wrong;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(wrong == 0);
  for (std::uint64_t t = 0; t < 3; ++t)
    for (std::uint64_t i = 0; i < 8; ++i)
      CHECK(bench.holds("s/c/" + std::to_string(t) + "-" + std::to_string(i) + ".ckpt",
                        {noise(200'000, i), text(100'000, t), noise(70'000, 100 * t + i)}));
  CHECK(bench.store->verify().empty());
}

TEST_CASE("two stores that checkpoint the same state at once both end up whole") {
  Bench bench;
  const auto other = bench.open(false);
  std::vector<std::thread> threads;
  const std::vector<Buffer> state = state_of(5);
  int name = 0;
  for (const auto& store : {bench.store, other})
    threads.emplace_back([&state, store, id = name++] {
      Snapshotter snapshotter(store, {});
      for (int i = 0; i < 5; ++i)
        snapshotter.take(regions_of(state), "s/c/" + std::to_string(id * 10 + i) + ".ckpt", {});
    });
  for (auto& thread : threads) thread.join();
  for (int id = 0; id < 2; ++id)
    for (int i = 0; i < 5; ++i)
      CHECK(bench.holds("s/c/" + std::to_string(id * 10 + i) + ".ckpt", state));
}

TEST_CASE("close finishes what is in flight; afterwards nothing is taken") {
  Bench bench;
  Snapshotter snapshotter(bench.store, {});
  const std::vector<Buffer> state = state_of(6);
  std::vector<std::shared_ptr<Pending>> pending;
  for (int i = 0; i < 5; ++i)
    pending.push_back(
        snapshotter.take(regions_of(state), "s/c/" + std::to_string(i) + ".ckpt", {}));
  snapshotter.close();
  snapshotter.close();
  for (const auto& one : pending) CHECK(one->done());
  CHECK(snapshotter.stats().in_flight == 0);
  CHECK(failure([&] { snapshotter.take({}, "s/c/9.ckpt", {}); }) == ErrorKind::kClosed);
  for (int i = 0; i < 5; ++i) CHECK(bench.holds("s/c/" + std::to_string(i) + ".ckpt", state));
}

TEST_CASE("a store closed too early fails the checkpoint, not the process") {
  Bench bench;
  Snapshotter snapshotter(bench.store, {});
  bench.store->close();
  const auto pending = snapshotter.take(regions_of(state_of(7)), "s/c/1.ckpt", {});
  CHECK(failure([&] { pending->wait({}); }) == ErrorKind::kClosed);
  CHECK(!bench.disk.exists("s/c/1.ckpt"));
}

#if !defined(__SANITIZE_THREAD__)  // TSan does not follow threads through fork
TEST_CASE("a forked child can neither use nor hang on what it inherited") {
  Bench bench;
  auto snapshotter = std::make_unique<Snapshotter>(bench.store, SnapshotterOptions{});
  const std::vector<Buffer> state = {noise(8 << 20, 1)};
  auto pending = snapshotter->take(regions_of(state), "s/c/1.ckpt", {});
  const pid_t child = ::fork();
  if (child == 0) {
    ::alarm(20);
    const bool refused =
        failure([&] { snapshotter->take({}, "s/c/2.ckpt", {}); }) == ErrorKind::kClosed &&
        failure([&] { pending->wait({}); }) == ErrorKind::kClosed &&
        failure([&] { bench.store->put(noise(1, 1)); }) == ErrorKind::kClosed;
    snapshotter->drain();
    snapshotter.reset();
    pending.reset();
    bench.store.reset();
    ::_exit(refused ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
  pending->wait({});
  CHECK(bench.holds("s/c/1.ckpt", state));
}
#endif

TEST_CASE("unusable options are refused") {
  Bench bench;
  CHECK(failure([&] { Snapshotter(bench.store, {1, 0}); }) == ErrorKind::kInvalid);
}

}  // namespace flor
