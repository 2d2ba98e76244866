// What a sweep removes, what it must leave, and that a crash at any of its steps loses nothing.
#include "store/sweeper.h"

#include <catch2/catch.hpp>
#include <numeric>

#include "codec/codec.h"
#include "faulty_files.h"
#include "store/store_lane.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::failure;
using testing::FaultyFiles;
using testing::noise;

struct Disk : FaultyFiles {
  Disk() { write_atomically("s/flor.json", as_bytes("{}")); }
  std::shared_ptr<ChunkStore> open(bool readonly = false) {
    ChunkStoreOptions options;
    options.files = this;
    options.readonly = readonly;
    return std::make_shared<ChunkStore>("s", options);
  }
  std::uint64_t bytes() {
    std::uint64_t sum = 0;
    for (const auto& name : list("s/packs")) sum += raw(join_path("s/packs", name)).size();
    return sum;
  }
};

struct Sample {
  std::vector<Buffer> contents;
  std::vector<ContentRef> refs;
};

// Two packs: contents 0 to 5 in the first, 6 to 11 in the second.
Sample fill(Disk& disk) {
  Sample sample;
  for (std::uint64_t pack = 0; pack < 2; ++pack) {
    const auto store = disk.open();
    for (std::uint64_t i = 0; i < 6; ++i) {
      sample.contents.push_back(noise(150'000 + i, 10 * pack + i + 1));
      sample.refs.push_back(store->put(sample.contents.back()));
    }
    store->close();
  }
  return sample;
}

SweepResult sweep(Disk& disk, const Sample& sample, const std::vector<std::size_t>& live) {
  const auto store = disk.open();
  Sweeper sweeper(store);
  for (const std::size_t i : live) sweeper.mark(sample.refs[i]);
  return sweeper.sweep({}, {});
}

bool all_read(Disk& disk, const Sample& sample, const std::vector<std::size_t>& live) {
  const auto store = disk.open(true);
  for (const std::size_t i : live)
    if (store->get(sample.refs[i]) != sample.contents[i]) return false;
  return store->verify().empty();
}

}  // namespace

TEST_CASE("a pack without live chunks goes, one that is mostly dead is rewritten") {
  Disk disk;
  const Sample sample = fill(disk);
  const std::uint64_t before = disk.bytes();
  const std::vector<std::size_t> live{7, 9};
  const SweepResult result = sweep(disk, sample, live);
  CHECK(result.packs[0].live_chunks + result.packs[1].live_chunks == 6);
  CHECK(disk.list("s/packs").size() == 1);
  CHECK(before - disk.bytes() == result.freed_bytes);
  CHECK(disk.bytes() < 310'000);
  CHECK(all_read(disk, sample, live));
  CHECK(disk.open(true)->is_contiguous(sample.refs[7]));  // raw chunks stay one behind the other
  CHECK(failure([&] { disk.open(true)->get(sample.refs[1]); }) == ErrorKind::kLost);
}

TEST_CASE("a plan says what the sweep frees, and changes nothing") {
  Disk disk;
  const Sample sample = fill(disk);
  const std::uint64_t before = disk.bytes();
  std::uint64_t planned = 0;
  {
    Sweeper sweeper(disk.open());
    sweeper.mark(sample.refs[0]);
    sweeper.mark(sample.refs[6]);
    planned = sweeper.plan({}).freed_bytes;
    CHECK(disk.bytes() == before);
  }
  const std::uint64_t freed = sweep(disk, sample, {0, 6}).freed_bytes;
  CHECK(planned >= freed);
  CHECK(planned - freed < 1000);  // headers and footers of the new pack
}

TEST_CASE("a pack that is mostly live stays as it is") {
  Disk disk;
  const Sample sample = fill(disk);
  const SweepResult result = sweep(disk, sample, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  CHECK(result.freed_bytes == 0);
  CHECK(result.packs[0].fate == PackFate::kKept);
}

TEST_CASE("many small packs are put together, copies of one chunk become one") {
  Disk disk;
  const Buffer content = noise(100'000, 5);
  ContentRef ref;
  std::vector<std::shared_ptr<ChunkStore>> writers;
  for (int i = 0; i < 9; ++i) writers.push_back(disk.open());
  for (const auto& writer : writers) ref = writer->put(content);
  for (const auto& writer : writers) writer->close();
  REQUIRE(disk.list("s/packs").size() == 9);
  Sweeper sweeper(disk.open());
  sweeper.mark(ref);
  sweeper.sweep({}, {});
  CHECK(disk.list("s/packs").size() == 1);
  CHECK(disk.open(true)->get(ref) == content);
}

TEST_CASE("what a living writer has put or relies on stays, named or not") {
  Disk disk;
  const Sample sample = fill(disk);
  const auto writer = disk.open();
  CHECK(writer->put(sample.contents[2]) == sample.refs[2]);  // relies on the first pack
  const Buffer fresh = noise(90'000, 77);
  const ContentRef fresh_ref = writer->put(fresh);
  const SweepResult result = sweep(disk, sample, {});
  CHECK(result.packs.size() == 3);
  CHECK(all_read(disk, sample, {0, 1, 2, 3, 4, 5}));
  CHECK(writer->get(fresh_ref) == fresh);
  CHECK(disk.open(true)->get(fresh_ref) == fresh);
  CHECK(failure([&] { disk.open(true)->get(sample.refs[8]); }) == ErrorKind::kLost);
  writer->close();
  sweep(disk, sample, {});
  CHECK(disk.list("s/packs").empty());
}

TEST_CASE("a writer stores anew what a sweep may be removing") {
  Disk disk;
  const Sample sample = fill(disk);
  const auto writer = disk.open();  // knows all of it
  Sweeper sweeper(disk.open());
  const ContentRef again = writer->put(sample.contents[0]);
  CHECK(again == sample.refs[0]);
  sweeper.sweep({}, {});
  CHECK(writer->get(again) == sample.contents[0]);
  CHECK(disk.open(true)->get(again) == sample.contents[0]);
}

TEST_CASE("a reader that knew the old place finds the new one") {
  Disk disk;
  const Sample sample = fill(disk);
  const auto reader = disk.open(true);
  sweep(disk, sample, {3});
  CHECK(reader->get(sample.refs[3]) == sample.contents[3]);
  const auto view = reader->view(sample.refs[3], 0, 10);
  REQUIRE(view);
  CHECK(std::equal(view->bytes.begin(), view->bytes.end(), sample.contents[3].begin()));
}

TEST_CASE("the base of a difference stays as long as the difference, also of a writer alive") {
  Disk disk;
  Buffer first(400'000), second(400'000);
  const Buffer random = noise(400'000, 1);
  for (std::size_t i = 0; i < 100'000; ++i) {
    const auto r = load<std::uint32_t>(random.data() + 4 * i);
    const std::uint32_t value = (r & 0x803FFFFF) + ((110 + r % 8) << 23);
    store(first.data() + 4 * i, value);
    store(second.data() + 4 * i, value + r % 64);
  }
  ContentRef key, next{second.size(), std::vector<ChunkId>(chunk_count(second.size()))};
  {
    const auto store = disk.open();
    key = store->put(first);
    store->close();
  }
  const auto put_next = [&](ChunkStore& store) {
    StoreLane lane(store);
    const PutPiece piece{second, next.chunks.data(), key.chunks.data()};
    lane.put({&piece, 1});
    lane.seal();
  };
  const auto writer = disk.open();
  put_next(*writer);
  REQUIRE(writer->base_of(next.chunks[0]) == key.chunks[0]);
  const auto collect = [&](const std::vector<ContentRef>& live) {
    Sweeper sweeper(disk.open());
    for (const ContentRef& ref : live) sweeper.mark(ref);
    sweeper.sweep({}, {});
  };
  collect({});  // nothing names the difference yet, but its writer may
  CHECK(disk.open(true)->get(next) == second);
  writer->close();
  collect({next});
  CHECK(disk.open(true)->get(next) == second);
  collect({});
  CHECK(disk.list("s/packs").empty());
}

// Eight checkpoints of floats that move a little from one to the next, as a run stores them: all
// are differences to the first.
Sample walk(Disk& disk, std::size_t count = 8, std::size_t floats = 40'000) {
  Sample walk;
  const auto store = disk.open();
  StoreLane lane(*store);
  Buffer now(4 * floats);
  const Buffer random = noise(now.size(), 1);
  for (std::size_t i = 0; i < floats; ++i)
    flor::store(now.data() + 4 * i,
                (load<std::uint32_t>(random.data() + 4 * i) & 0x803FFFFF) + (115U << 23));
  for (std::size_t step = 0; step < count; ++step) {
    const Buffer moves = noise(now.size(), 100 + step);
    for (std::size_t i = 0; step > 0 && i < floats; ++i)
      flor::store(now.data() + 4 * i, load<std::uint32_t>(now.data() + 4 * i) +
                                          (load<std::uint32_t>(moves.data() + 4 * i) >> 20));
    ContentRef ref{now.size(), std::vector<ChunkId>(chunk_count(now.size()))};
    const PutPiece piece{now, ref.chunks.data(), step == 0 ? nullptr : walk.refs[0].chunks.data()};
    lane.put({&piece, 1});
    walk.contents.push_back(now);
    walk.refs.push_back(ref);
  }
  lane.seal();
  store->close();
  return walk;
}

SweepResult sweep_small(Disk& disk, const Sample& walk, const std::vector<std::size_t>& live) {
  const auto store = disk.open();
  Sweeper sweeper(store);
  for (const std::size_t i : live) sweeper.mark(walk.refs[i]);
  for (std::size_t i = 1; i < live.size(); ++i)
    sweeper.pair(walk.refs[live[i]], walk.refs[live[i - 1]]);
  return sweeper.sweep({}, {});
}

const std::vector<std::size_t> kAll{0, 1, 2, 3, 4, 5, 6, 7};

TEST_CASE("differences to the key become differences to the neighbour, in fewer bytes") {
  Disk disk;
  const Sample steps = walk(disk);
  const std::uint64_t before = disk.bytes();
  const SweepResult result = sweep_small(disk, steps, kAll);
  const std::size_t chunks = steps.refs[0].chunks.size();
  CHECK(result.recoded_chunks == 6 * chunks);  // the first is the key, the second its neighbour
  CHECK(before - disk.bytes() == result.freed_bytes);
  CHECK(disk.bytes() < before * 0.97);
  CHECK(all_read(disk, steps, kAll));
  for (std::size_t i = 1; i < kAll.size(); ++i)
    CHECK(disk.open(true)->base_of(steps.refs[i].chunks[1]) == steps.refs[i - 1].chunks[1]);
  CHECK(sweep_small(disk, steps, kAll).recoded_chunks == 0);  // there is nothing left to do
  CHECK(sweep(disk, steps, kAll).freed_bytes == 0);
}

TEST_CASE("a chain of differences never gets longer than readers follow") {
  Disk disk;
  const Sample steps = walk(disk, 20, 20'000);
  std::vector<std::size_t> every(20);
  std::iota(every.begin(), every.end(), std::size_t{0});
  sweep_small(disk, steps, every);
  CHECK(all_read(disk, steps, every));
  const auto store = disk.open(true);
  int longest = 0;
  for (const ContentRef& ref : steps.refs) {
    int depth = 0;
    for (auto base = store->base_of(ref.chunks[0]); base; base = store->base_of(*base)) ++depth;
    longest = std::max(longest, depth);
  }
  CHECK(longest == kLongestChain);
}

TEST_CASE("what a dropped checkpoint was the base of is stored anew, and its bytes come back") {
  Disk disk;
  const Sample steps = walk(disk);
  sweep_small(disk, steps, kAll);
  const std::vector<std::size_t> kept{0, 4, 7};
  sweep(disk, steps, kept);
  const std::uint64_t chained = disk.bytes();  // the chains run through all eight
  sweep_small(disk, steps, kept);
  sweep(disk, steps, kept);
  CHECK(disk.bytes() < chained * 0.75);
  CHECK(all_read(disk, steps, kept));
  CHECK(disk.open(true)->base_of(steps.refs[7].chunks[0]) == steps.refs[4].chunks[0]);
}

TEST_CASE("pairs in a circle, of other lengths, of what is not marked, are left out") {
  Disk disk;
  const Sample steps = walk(disk, 4);
  {
    Sweeper sweeper(disk.open());
    for (const ContentRef& ref : steps.refs) sweeper.mark(ref);
    sweeper.pair(steps.refs[2], steps.refs[1]);
    sweeper.pair(steps.refs[1], steps.refs[2]);
    sweeper.pair(steps.refs[3], steps.refs[2]);
    sweeper.pair(steps.refs[0], steps.refs[3]);  // the key is a root, and stays one
    sweeper.pair(steps.refs[2], steps.refs[3]);
    ContentRef shorter = steps.refs[1];
    shorter.nbytes -= 4;
    sweeper.pair(steps.refs[3], shorter);
    ContentRef unknown = steps.refs[1];
    unknown.chunks[0].hash.low ^= 1;
    sweeper.pair(unknown, steps.refs[1]);
    sweeper.sweep({}, {});
  }
  CHECK(all_read(disk, steps, {0, 1, 2, 3}));
  CHECK(!disk.open(true)->base_of(steps.refs[0].chunks[0]));
}

TEST_CASE("two sweeps with one store: what the first removed is not taken for a copy") {
  Disk disk;
  const Sample steps = walk(disk);
  const auto store = disk.open();
  for (int round = 0; round < 3; ++round) {
    Sweeper sweeper(store);
    for (const ContentRef& ref : steps.refs) sweeper.mark(ref);
    for (std::size_t i = 1; i < steps.refs.size(); ++i)
      sweeper.pair(steps.refs[i], steps.refs[i - 1]);
    const SweepResult result = sweeper.sweep({}, {});
    CHECK((result.recoded_chunks > 0) == (round == 0));
    CHECK(result.lost_chunks == 0);
    CHECK(all_read(disk, steps, kAll));
  }
  CHECK(disk.list("s/packs").size() == 1);
}

TEST_CASE("a crash at any step of storing anew loses nothing") {
  bool finished = false;
  int steps = 0;
  for (int step = 1; !finished; ++step, ++steps)
    for (const bool power_loss : {false, true}) {
      Disk disk;
      const Sample made = walk(disk, 8, 10'000);
      disk.fail_at(step);
      finished = !failure([&] { sweep_small(disk, made, kAll); });
      disk.fail_at(0);
      if (power_loss) disk.crash();
      REQUIRE(all_read(disk, made, kAll));
      sweep_small(disk, made, kAll);
      REQUIRE(all_read(disk, made, kAll));
    }
  CHECK(steps > 3);
}

TEST_CASE("one sweep at a time; a store that is read only has none") {
  Disk disk;
  const Sample sample = fill(disk);
  const Sweeper first(disk.open());
  CHECK(failure([&] { Sweeper second(disk.open()); }) == ErrorKind::kInvalid);
  CHECK(failure([&] { Sweeper second(disk.open(true)); }).has_value());
}

TEST_CASE("a crash or a failure at any step of a sweep loses nothing that is live") {
  const std::vector<std::size_t> live{1, 4, 7};
  bool finished = false;
  int steps = 0;
  for (int step = 1; !finished; ++step, ++steps)
    for (const bool power_loss : {false, true}) {
      Disk disk;
      const Sample sample = fill(disk);
      disk.fail_at(step);
      finished = !failure([&] { sweep(disk, sample, live); });
      disk.fail_at(0);
      if (power_loss) disk.crash();
      REQUIRE(all_read(disk, sample, live));
      sweep(disk, sample, live);  // and the next one makes good
      REQUIRE(all_read(disk, sample, live));
      REQUIRE(disk.bytes() < 500'000);
    }
  CHECK(steps > 5);
}

TEST_CASE("a damaged pack is set aside, its whole chunks stay readable, at any crash") {
  bool finished = false;
  for (int step = 1; !finished; ++step) {
    Disk disk;
    const Sample sample = fill(disk);
    const std::string name = disk.list("s/packs")[0];
    const std::string path = join_path("s/packs", name);
    const auto places = disk.open(true)->places();
    Buffer& file = disk.raw(path);
    std::size_t hurt = 0;
    for (std::size_t i = 0; i < sample.refs.size(); ++i)
      for (const ChunkPlace& place : places)
        if (place.id == sample.refs[i].chunks[0] &&
            disk.open(true)->pack_paths()[place.pack] == path)
          hurt = i;
    for (const ChunkPlace& place : places)
      if (place.id == sample.refs[hurt].chunks[0]) file[place.offset] ^= std::byte{1};
    std::vector<std::size_t> whole;
    for (std::size_t i = 0; i < sample.refs.size(); ++i)
      if (i != hurt) whole.push_back(i);
    const auto repair = [&] {
      Sweeper sweeper(disk.open());
      const auto in_use = sweeper.set_aside({path}, "s/lost");
      CHECK(in_use.empty());
    };
    disk.fail_at(step);
    finished = !failure(repair);
    disk.fail_at(0);
    disk.crash();
    if (!finished && !disk.exists(join_path("s/lost", name))) repair();
    REQUIRE(disk.exists(join_path("s/lost", name)));
    REQUIRE(all_read(disk, sample, whole));
  }
}

}  // namespace flor
