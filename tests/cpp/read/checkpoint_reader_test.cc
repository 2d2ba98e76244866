#include "read/checkpoint_reader.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "codec/codec.h"
#include "faulty_files.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::failure;
using testing::FaultyFiles;
using testing::noise;
using testing::text;

const std::vector<Buffer>& state() {
  static const std::vector<Buffer> value = {noise(200'000, 1), text(200'000, 2), {}, noise(10, 3)};
  return value;
}

// A store with one checkpoint of state(), written without a snapshotter: this layer lies beside it.
struct Sample {
  FaultyFiles disk;
  std::shared_ptr<ChunkStore> store;

  Sample() {
    disk.write_atomically("s/flor.json", as_bytes("{}"));
    ChunkStoreOptions options;
    options.files = &disk;
    store = std::make_shared<ChunkStore>("s", options);
    Manifest manifest;
    for (const Buffer& region : state()) manifest.regions.push_back(store->put(region));
    const Buffer meta = text(5000, 9);
    manifest.meta = encode(Codec::kLz4, meta);
    manifest.meta_codec = static_cast<std::uint8_t>(Codec::kLz4);
    manifest.meta_raw_bytes = meta.size();
    disk.write_atomically("s/1.ckpt", encode_manifest(manifest));
  }
  CheckpointReader reader() { return {store, "s/1.ckpt"}; }
};

Buffer copy(const HeldBytes& held) { return {held.bytes.begin(), held.bytes.end()}; }

}  // namespace

TEST_CASE("regions come back one by one, in part, and into the caller's memory") {
  Sample sample;
  const CheckpointReader reader = sample.reader();
  CHECK(as_text(reader.meta()) == as_text(text(5000, 9)));
  REQUIRE(reader.region_count() == 4);
  for (std::size_t i = 0; i < 4; ++i) {
    const Buffer& whole = state()[i];
    CHECK(copy(reader.read(i, 0, whole.size())) == whole);
    for (const std::size_t from : {std::size_t{0}, whole.size() / 3, whole.size()}) {
      Buffer part((whole.size() - from) / 2);
      reader.read_into(i, from, part);
      CHECK(
          std::equal(part.begin(), part.end(), whole.begin() + static_cast<std::ptrdiff_t>(from)));
      CHECK(copy(reader.read(i, from, part.size())) == part);
    }
  }
  CHECK(reader.is_zero_copy(0));
  CHECK(!reader.is_zero_copy(1));
  CHECK(reader.verify().empty());
}

TEST_CASE("a long region is read in pieces, from any place, and tells its damage") {
  Sample sample;
  Buffer content = text(9'000'001, 3);
  const Buffer hard = noise(2'000'000, 4);
  std::copy(hard.begin(), hard.end(), content.begin() + 4'000'000);
  Manifest manifest;
  manifest.regions.push_back(sample.store->put(content));
  sample.disk.write_atomically("s/long.ckpt", encode_manifest(manifest));
  {
    const CheckpointReader reader(sample.store, "s/long.ckpt");
    for (const std::size_t from : {0, 1, 65'536, 1'000'003})
      for (const std::size_t count : {7'999'998, 2'097'152, 2'097'151}) {
        const auto begin = content.begin() + static_cast<std::ptrdiff_t>(from);
        CHECK(copy(reader.read(0, from, count)) ==
              Buffer(begin, begin + static_cast<std::ptrdiff_t>(count)));
      }
    Buffer out(8'000'000);
    CHECK(failure([&] { reader.read_into(0, 1'000'002, out); }) == ErrorKind::kInvalid);
  }
  sample.store->close();
  auto& file = sample.disk.raw("s/packs/" + sample.disk.list("s/packs")[0]);
  const auto at =
      std::search(file.begin(), file.end(), hard.begin() + 500'000, hard.begin() + 500'040);
  REQUIRE(at != file.end());
  *at ^= std::byte{1};
  ChunkStoreOptions options;
  options.files = &sample.disk;
  const CheckpointReader damaged(std::make_shared<ChunkStore>("s", options), "s/long.ckpt");
  CHECK(failure([&] { damaged.read(0, 0, content.size()); }) == ErrorKind::kCorrupt);
}

TEST_CASE("many regions are read at once, and a bad one is told") {
  Sample sample;
  Manifest manifest;
  std::vector<Buffer> contents;
  for (std::size_t i = 0; i < 40; ++i) {
    contents.push_back(i % 3 == 0 ? text(i * 70'001, i) : noise(i * 9'001, i));
    manifest.regions.push_back(sample.store->put(contents.back()));
  }
  sample.disk.write_atomically("s/3.ckpt", encode_manifest(manifest));
  const CheckpointReader reader(sample.store, "s/3.ckpt");
  std::vector<Buffer> out;
  for (const Buffer& content : contents) out.emplace_back(content.size());
  std::vector<CheckpointReader::Wanted> wanted;
  for (std::size_t i = 0; i < out.size(); ++i) wanted.push_back({i, 0, out[i]});
  reader.read_into(wanted);
  CHECK(out == contents);
  // Parts that begin inside a piece and end inside another.
  Buffer part(600'000);
  const std::vector<CheckpointReader::Wanted> inside = {{39, 1'000'003, part}};
  reader.read_into(inside);
  CHECK(std::equal(part.begin(), part.end(), contents[39].begin() + 1'000'003));
  wanted[7].offset = 1;
  CHECK(failure([&] { reader.read_into(wanted); }) == ErrorKind::kInvalid);
  wanted[7] = {40, 0, {}};
  CHECK(failure([&] { reader.read_into(wanted); }) == ErrorKind::kInvalid);
  CHECK_NOTHROW(reader.read_into(std::span<const CheckpointReader::Wanted>()));
}

TEST_CASE("what was read outlives reader and store") {
  HeldBytes held;
  {
    Sample sample;
    held = sample.reader().read(0, 0, state()[0].size());
  }
  CHECK(copy(held) == state()[0]);
}

TEST_CASE("a region or a range that is not there is refused") {
  Sample sample;
  const CheckpointReader reader = sample.reader();
  Buffer out(11);
  CHECK(failure([&] { reader.region(4); }) == ErrorKind::kInvalid);
  CHECK(failure([&] { reader.read(3, 0, 11); }) == ErrorKind::kInvalid);
  CHECK(failure([&] { reader.read(3, 11, 0); }) == ErrorKind::kInvalid);
  CHECK(failure([&] { reader.read_into(3, 0, out); }) == ErrorKind::kInvalid);
}

TEST_CASE("a damaged chunk: its region is corrupt, the others are readable") {
  Sample sample;
  auto& file = sample.disk.raw("s/packs/" + sample.disk.list("s/packs")[0]);
  const auto at =
      std::search(file.begin(), file.end(), state()[0].begin(), state()[0].begin() + 40);
  *at ^= std::byte{1};
  const CheckpointReader reader = sample.reader();
  CHECK(failure([&] { reader.read(0, 0, 200'000); }) == ErrorKind::kCorrupt);
  CHECK(copy(reader.read(0, 70'000, 1000)).size() == 1000);  // another chunk of the same region
  CHECK(copy(reader.read(1, 0, 200'000)) == state()[1]);
  CHECK(reader.verify().size() == 1);
}

TEST_CASE("a chunk that no pack holds is corrupt, and the checkpoint is named") {
  Sample sample;
  Manifest manifest;
  manifest.regions.push_back({100, {{{1, 2}, 0}}});
  sample.disk.write_atomically("s/2.ckpt", encode_manifest(manifest));
  const CheckpointReader reader(sample.store, "s/2.ckpt");
  try {
    reader.read(0, 0, 100);
    FAIL("a missing chunk was read");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCorrupt);
    CHECK(error.path() == "s/2.ckpt");
  }
  CHECK(reader.verify().size() == 1);
}

TEST_CASE("a missing, a cut and a made-up manifest") {
  Sample sample;
  CHECK(failure([&] { CheckpointReader(sample.store, "s/9.ckpt"); }) == ErrorKind::kNotFound);
  sample.disk.raw("s/1.ckpt").pop_back();
  CHECK(failure([&] { CheckpointReader(sample.store, "s/1.ckpt"); }) == ErrorKind::kCorrupt);
  Manifest manifest;
  manifest.meta_raw_bytes = std::uint64_t{1} << 50;
  sample.disk.write_atomically("s/2.ckpt", encode_manifest(manifest));
  CHECK(failure([&] { CheckpointReader(sample.store, "s/2.ckpt"); }) == ErrorKind::kCorrupt);
}

}  // namespace flor
