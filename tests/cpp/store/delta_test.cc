// Chunks stored as differences to chunks of an earlier checkpoint.
#include <catch2/catch.hpp>

#include "codec/codec.h"
#include "faulty_files.h"
#include "store/chunk_store.h"
#include "store/store_lane.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::failure;
using testing::FaultyFiles;
using testing::noise;

struct Disk : FaultyFiles {
  Disk() { write_atomically("s/flor.json", as_bytes("{}")); }
  ChunkStoreOptions options() {
    ChunkStoreOptions out;
    out.files = this;
    return out;
  }
};

// Floats with random mantissas; `step` moves each a little.
Buffer weights(std::size_t count, std::uint32_t step) {
  const Buffer random = noise(4 * count, 1), moves = noise(4 * count, 100 + step);
  Buffer out(4 * count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto r = load<std::uint32_t>(random.data() + 4 * i);
    const std::uint32_t moved = step == 0 ? 0 : load<std::uint32_t>(moves.data() + 4 * i) >> 22;
    store(out.data() + 4 * i, (r & 0x803FFFFF) + ((110 + r % 8) << 23) + moved);
  }
  return out;
}

ContentRef put(StoreLane& lane, const Buffer& content, const ContentRef* base) {
  ContentRef ref{content.size(), std::vector<ChunkId>(chunk_count(content.size()))};
  const PutPiece piece{content, ref.chunks.data(), base == nullptr ? nullptr : base->chunks.data()};
  lane.put({&piece, 1});
  return ref;
}

std::uint64_t added(ChunkStore& store, const auto& call) {
  const std::uint64_t before = store.stats().stored_bytes;
  call();
  return store.stats().stored_bytes - before;
}

}  // namespace

TEST_CASE("a difference takes less room, reads back, also after reopening, whole and in part") {
  Disk disk;
  const Buffer first = weights(50'000, 0), second = weights(50'000, 1);
  ContentRef key, next;
  {
    ChunkStore store("s", disk.options());
    StoreLane lane(store);
    const std::uint64_t plain = added(store, [&] { key = put(lane, first, nullptr); });
    const std::uint64_t delta = added(store, [&] { next = put(lane, second, &key); });
    CHECK(plain < first.size() * 0.95);
    CHECK(delta < plain * 0.6);
    CHECK(store.get(next) == second);
    lane.seal();
  }
  ChunkStore store("s", disk.options());
  CHECK(store.get(key) == first);
  CHECK(store.get(next) == second);
  Buffer part(100'000);
  store.read(next, 33'333, part);
  CHECK(std::equal(part.begin(), part.end(), second.begin() + 33'333));
  CHECK(store.verify().empty());
  CHECK(store.verify(next).empty());
  for (std::size_t i = 0; i < key.chunks.size(); ++i) {
    CHECK(store.base_of(next.chunks[i]) == key.chunks[i]);
    CHECK(!store.base_of(key.chunks[i]));
  }
}

TEST_CASE("the same content has the same name, difference or not, and is stored once") {
  Disk disk;
  const Buffer first = weights(20'000, 0), second = weights(20'000, 1);
  ChunkStore store("s", disk.options());
  StoreLane lane(store);
  const ContentRef key = put(lane, first, nullptr), delta = put(lane, second, &key);
  CHECK(added(store, [&] { CHECK(put(lane, second, nullptr) == delta); }) == 0);
  Disk elsewhere;
  ChunkStore other("s", elsewhere.options());
  CHECK(other.put(second) == delta);
}

TEST_CASE("a base that is a difference itself, unknown, or of another length is not taken") {
  Disk disk;
  const Buffer first = weights(20'000, 0), second = weights(20'000, 1), third = weights(20'000, 2);
  ChunkStore store("s", disk.options());
  StoreLane lane(store);
  const ContentRef key = put(lane, first, nullptr), delta = put(lane, second, &key);
  ContentRef chained, unknown = key, shorter;
  const std::uint64_t plain = added(store, [&] { chained = put(lane, third, &delta); });
  CHECK(plain > third.size() * 0.7);
  CHECK(store.get(chained) == third);
  for (ChunkId& id : unknown.chunks) id.hash.low ^= 1;
  const Buffer fourth = weights(20'000, 3), fifth = weights(15'000, 4);
  CHECK(store.get(put(lane, fourth, &unknown)) == fourth);
  CHECK(store.get(put(lane, fifth, &key)) == fifth);
}

TEST_CASE("a damaged base is told for what depends on it, and a fresh copy heals both") {
  Disk disk;
  const Buffer first = weights(16'384, 0), second = weights(16'384, 1);
  ContentRef key, delta;
  {
    ChunkStore store("s", disk.options());
    StoreLane lane(store);
    key = put(lane, first, nullptr);
    delta = put(lane, second, &key);
    lane.seal();
  }
  // Inside the first chunk, which is the key's only one.
  disk.raw(join_path("s/packs", disk.list("s/packs").at(0)))[1000] ^= std::byte{1};
  ChunkStore store("s", disk.options());
  CHECK(failure([&] { store.get(key); }) == ErrorKind::kCorrupt);
  CHECK(failure([&] { store.get(delta); }) == ErrorKind::kCorrupt);
  CHECK(store.verify(delta).size() == 1);
  CHECK(store.put(first) == key);
  CHECK(store.get(key) == first);
  CHECK(store.get(delta) == second);
}

TEST_CASE("frozen content under a base costs nothing, changed content of no likeness goes plain") {
  Disk disk;
  const Buffer first = weights(50'000, 0), other = noise(200'000, 9);
  ChunkStore store("s", disk.options());
  StoreLane lane(store);
  const ContentRef key = put(lane, first, nullptr);
  CHECK(added(store, [&] { CHECK(put(lane, first, &key) == key); }) == 0);
  const ContentRef ref = put(lane, other, &key);
  CHECK(store.get(ref) == other);
  CHECK(store.is_contiguous(ref));
}

}  // namespace flor
