#include "store/chunk_store.h"

#include <algorithm>
#include <catch2/catch.hpp>

#include "faulty_files.h"
#include "store/store_lane.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::failure;
using testing::FaultyFiles;
using testing::noise;
using testing::text;

struct Disk : FaultyFiles {
  Disk() { write_atomically("s/flor.json", as_bytes("{}")); }
  ChunkStoreOptions options(bool readonly = false) {
    ChunkStoreOptions out;
    out.files = this;
    out.readonly = readonly;
    return out;
  }
  // The live bytes of the n-th pack.
  Buffer& pack(std::size_t n = 0) { return raw(join_path("s/packs", list("s/packs").at(n))); }
};

Buffer joined(const Buffer& a, const Buffer& b) {
  Buffer out = a;
  out.insert(out.end(), b.begin(), b.end());
  return out;
}

Hash128 constant_hash(Bytes, std::uint8_t) { return {7, 7}; }

void flip_payload(Disk& disk, const Buffer& content) {
  auto& file = disk.pack();
  const auto it = std::search(file.begin(), file.end(), content.begin(), content.begin() + 50);
  REQUIRE(it != file.end());
  it[10] ^= std::byte{4};
}

}  // namespace

TEST_CASE("content of every length comes back, raw and compressed, whole and in part") {
  Disk disk;
  ChunkStore store("s", disk.options());
  for (const std::size_t count : {0, 1, 63, 64, 65535, 65536, 65537, 200'000})
    for (const Buffer& content : {noise(count, count), text(count, count)}) {
      const ContentRef ref = store.put(content);
      REQUIRE(ref.chunks.size() == chunk_count(count));
      REQUIRE(store.get(ref) == content);
      REQUIRE(store.contains(ref));
      Buffer part(count / 2);
      store.read(ref, count / 3, part);
      REQUIRE(std::equal(part.begin(), part.end(),
                         content.begin() + static_cast<std::ptrdiff_t>(count / 3)));
    }
  Buffer out(2);
  const ContentRef one = store.put(noise(1, 1));
  CHECK(failure([&] { store.read(one, 0, out); }) == ErrorKind::kInvalid);
}

TEST_CASE("several contents at once are one extent, and each has its own name") {
  Disk disk;
  ChunkStore store("s", disk.options());
  const std::vector<Buffer> contents{text(900, 1), noise(70'000, 2), {}, text(900, 1), noise(9, 3)};
  const std::vector<Bytes> views(contents.begin(), contents.end());
  std::vector<ContentRef> refs(contents.size());
  const std::uint64_t added = store.put(views, refs);
  for (std::size_t i = 0; i < contents.size(); ++i) REQUIRE(store.get(refs[i]) == contents[i]);
  CHECK(refs[0] == refs[3]);
  CHECK(added > 70'000);
  CHECK(store.put(views, refs) == 0);
}

TEST_CASE("content is stored once, within a put and across stores") {
  Disk disk;
  const Buffer chunk = noise(kChunkBytes, 1);
  ContentRef ref;
  {
    ChunkStore store("s", disk.options());
    ref = store.put(joined(chunk, chunk));
    CHECK(ref.chunks[0] == ref.chunks[1]);
    CHECK(store.stats().chunks == 1);
  }
  ChunkStore again("s", disk.options());
  CHECK(again.put(joined(chunk, chunk)) == ref);
  CHECK(again.stats().dedup_hits == 2);
  CHECK(again.stats().compared_bytes == 2 * kChunkBytes);
  CHECK(disk.list("s/packs").size() == 1);
}

TEST_CASE("compressible content takes less room, incompressible content is not copied on reading") {
  Disk disk;
  ChunkStore store("s", disk.options());
  store.put(text(10 * kChunkBytes, 1));
  CHECK(store.stats().stored_bytes * 5 < store.stats().raw_bytes);
  const Buffer raw = noise(5 * kChunkBytes + 100, 2);
  const ContentRef ref = store.put(raw);
  CHECK(store.is_contiguous(ref));
  const auto view = store.view(ref, 1000, 3 * kChunkBytes);
  REQUIRE(view);
  CHECK(std::equal(view->bytes.begin(), view->bytes.end(), raw.begin() + 1000));
  CHECK(!store.view(store.put(text(1000, 1)), 0, 1000));
}

TEST_CASE("contents whose hashes are equal get different names, also after reopening") {
  Disk disk;
  ChunkStoreOptions options = disk.options();
  options.hash = &constant_hash;
  std::vector<Buffer> contents;
  std::vector<ContentRef> refs;
  for (std::uint64_t i = 0; i < 20; ++i)
    contents.push_back(i % 2 == 0 ? noise(500, i) : text(500 + i, i));
  for (int round = 0; round < 2; ++round) {
    ChunkStore store("s", options);
    for (std::size_t i = 0; i < contents.size(); ++i) {
      const ContentRef ref = store.put(contents[i]);
      if (round == 0) refs.push_back(ref);
      REQUIRE(ref == refs[i]);
      REQUIRE(ref.chunks[0].salt == i);
    }
    for (std::size_t i = 0; i < contents.size(); ++i) REQUIRE(store.get(refs[i]) == contents[i]);
    REQUIRE(store.stats().chunks == contents.size());
    REQUIRE(store.verify().empty());
  }
}

TEST_CASE("hashes that collide within one put are told apart too") {
  Disk disk;
  ChunkStoreOptions options = disk.options();
  options.hash = &constant_hash;
  ChunkStore store("s", options);
  const Buffer content = joined(noise(kChunkBytes, 1), noise(kChunkBytes, 2));
  const ContentRef ref = store.put(content);
  CHECK(ref.chunks[0] != ref.chunks[1]);
  CHECK(store.get(ref) == content);
}

TEST_CASE("a hash that has no names left is an error, not wrong content") {
  Disk disk;
  ChunkStoreOptions options = disk.options();
  options.hash = &constant_hash;
  ChunkStore store("s", options);
  for (std::uint64_t i = 0; i < 256; ++i) store.put(noise(100, i));
  CHECK(failure([&] { store.put(noise(100, 999)); }) == ErrorKind::kInvalid);
}

TEST_CASE("a flipped byte of a chunk is corrupt, with its place; its neighbours are readable") {
  Disk disk;
  const Buffer bad = noise(1000, 1), good = noise(1000, 2);
  ContentRef bad_ref, good_ref;
  {
    ChunkStore store("s", disk.options());
    bad_ref = store.put(bad), good_ref = store.put(good);
  }
  flip_payload(disk, bad);
  ChunkStore store("s", disk.options(true));
  CHECK(store.get(good_ref) == good);
  try {
    store.get(bad_ref);
    FAIL("damaged bytes were given out");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kCorrupt);
    CHECK(error.path() == "s/packs/" + disk.list("s/packs")[0]);
    CHECK(error.offset() > 0);
    CHECK(error.expected() != error.found());
  }
  CHECK(!store.view(bad_ref, 0, 1000));
  const auto problems = store.verify();
  REQUIRE(problems.size() == 1);
  CHECK(problems[0].id == to_text(bad_ref.chunks[0]));
}

TEST_CASE("a damaged chunk that is put again gets a fresh copy, which is found from then on") {
  Disk disk;
  const Buffer content = noise(1000, 1);
  ContentRef ref;
  {
    ChunkStore store("s", disk.options());
    ref = store.put(content);
  }
  flip_payload(disk, content);
  for (int round = 0; round < 2; ++round) {
    ChunkStore store("s", disk.options());
    REQUIRE(store.put(content) == ref);
    REQUIRE(store.get(ref) == content);
    REQUIRE(store.stats().dedup_hits == (round == 0 ? 0 : 1));
  }
  ChunkStore reader("s", disk.options(true));
  CHECK(reader.get(ref) == content);
  CHECK(reader.verify(ref).empty());
}

TEST_CASE("two chunks of one length that were swapped are noticed") {
  Disk disk;
  const Buffer a = noise(1000, 1), b = noise(1000, 2);
  ContentRef ref;
  {
    ChunkStore store("s", disk.options());
    ref = store.put(a);
    store.put(b);
  }
  auto& file = disk.pack();
  const auto at_a = std::search(file.begin(), file.end(), a.begin(), a.end());
  const auto at_b = std::search(file.begin(), file.end(), b.begin(), b.end());
  std::swap_ranges(at_a, at_a + 1000, at_b);
  ChunkStore store("s", disk.options(true));
  CHECK(failure([&] { store.get(ref); }) == ErrorKind::kCorrupt);
  CHECK(store.verify().size() == 2);
}

TEST_CASE("what was put is there after kill -9; a torn tail is not") {
  Disk disk;
  ChunkStore writer("s", disk.options());
  const Buffer kept = noise(1000, 1), torn = noise(1000, 2);
  const ContentRef kept_ref = writer.put(kept), torn_ref = writer.put(torn);
  auto& file = disk.pack();
  file.resize(file.size() - 30);  // nothing was closed: the pack is as the writer left it
  ChunkStore reader("s", disk.options(true));
  CHECK(reader.get(kept_ref) == kept);
  CHECK(!reader.contains(torn_ref));
  CHECK(failure([&] { reader.get(torn_ref); }) == ErrorKind::kLost);
}

TEST_CASE("what was synced is there after a power loss") {
  Disk disk;
  ChunkStore writer("s", disk.options());
  const Buffer synced = noise(1000, 1);
  const ContentRef ref = writer.put(synced);
  writer.sync();
  const ContentRef lost = writer.put(noise(1000, 2));
  disk.crash();
  ChunkStore reader("s", disk.options(true));
  CHECK(reader.get(ref) == synced);
  CHECK(!reader.contains(lost));
}

TEST_CASE("chunks another process wrote are made durable before a checkpoint relies on them") {
  Disk disk;
  ChunkStore theirs("s", disk.options());
  const Buffer content = noise(1000, 1);
  theirs.put(content);
  ChunkStore ours("s", disk.options());
  const std::uint64_t epoch = ours.begin_batch();
  const ContentRef ref = ours.put(content);
  REQUIRE(ours.stats().dedup_hits == 1);
  ours.sync(epoch);
  disk.crash();
  CHECK(ChunkStore("s", disk.options(true)).get(ref) == content);
}

TEST_CASE("a reader sees what another process stores meanwhile") {
  Disk disk;
  ChunkStore reader("s", disk.options(true)), writer("s", disk.options());
  for (std::uint64_t i = 0; i < 5; ++i) {
    const ContentRef ref = writer.put(noise(1000, i));
    REQUIRE(reader.get(ref) == noise(1000, i));
  }
  writer.close();
  CHECK(reader.verify().empty());
  CHECK(reader.stats().chunks == 5);
}

TEST_CASE("full packs are sealed and others begun") {
  Disk disk;
  ChunkStoreOptions options = disk.options();
  options.pack_bytes = 10'000;
  ChunkStore store("s", options);
  std::vector<ContentRef> refs;
  for (std::uint64_t i = 0; i < 20; ++i) refs.push_back(store.put(noise(3000, i)));
  store.sync();
  CHECK(disk.list("s/packs").size() == 5);
  store.close();
  ChunkStore again("s", disk.options(true));
  for (std::uint64_t i = 0; i < 20; ++i) CHECK(again.get(refs[i]) == noise(3000, i));
  CHECK(again.stats().chunks == 20);
}

TEST_CASE("a failed write at any call leaves a store that holds what was acknowledged") {
  for (const int errno_value : {EIO, ENOSPC, EROFS})
    for (int call = 1; call < 12; ++call) {
      Disk disk;
      ChunkStore store("s", disk.options());
      const ContentRef first = store.put(noise(2000, 1));
      disk.fail_at(call, errno_value);
      std::vector<std::pair<ContentRef, std::uint64_t>> kept;
      for (std::uint64_t i = 10; i < 16; ++i)
        failure([&] { kept.push_back({store.put(noise(300'000, i)), i}); });
      failure([&] { store.sync(); });
      REQUIRE(kept.size() >= 5);
      ChunkStore reader("s", disk.options(true));
      REQUIRE(reader.get(first) == noise(2000, 1));
      for (const auto& [ref, seed] : kept) REQUIRE(reader.get(ref) == noise(300'000, seed));
      REQUIRE(reader.verify().empty());
    }
}

TEST_CASE("a full disk is told, and writing goes on when there is room again") {
  Disk disk;
  ChunkStore store("s", disk.options());
  disk.space_bytes = 50'000;
  CHECK(failure([&] { store.put(noise(100'000, 1)); }) == ErrorKind::kFullDisk);
  disk.space_bytes.reset();
  const ContentRef ref = store.put(noise(100'000, 1));
  CHECK(store.get(ref) == noise(100'000, 1));
  store.close();
  CHECK(ChunkStore("s", disk.options(true)).get(ref) == noise(100'000, 1));
}

TEST_CASE("what could not be synced is stored again") {
  Disk disk;
  ChunkStore store("s", disk.options());
  const Buffer content = noise(1000, 1);
  const std::uint64_t epoch = store.begin_batch();
  store.put(content);
  disk.fail_at(1);
  CHECK(failure([&] { store.sync(epoch); }) == ErrorKind::kIo);
  CHECK(failure([&] { store.sync(epoch); }) == ErrorKind::kIo);  // for everyone who relied on it
  CHECK(failure([&] { store.sync(); }) == ErrorKind::kIo);       // and once for put()
  store.sync();
  const ContentRef ref = store.put(content);
  CHECK(store.stats().dedup_hits == 0);
  store.sync(store.begin_batch());
  disk.crash();
  CHECK(ChunkStore("s", disk.options(true)).get(ref) == content);
}

TEST_CASE("a missing folder, a closed store, a read-only store, a later format") {
  Disk disk;
  CHECK(failure([&] { ChunkStore("nowhere", disk.options()); }) == ErrorKind::kNotAStore);
  ChunkStore readonly("s", disk.options(true));
  CHECK(failure([&] { readonly.put(noise(1, 1)); }) == ErrorKind::kReadOnly);
  readonly.close();
  ContentRef ref;
  {
    ChunkStore store("s", disk.options());
    ref = store.put(noise(10, 1));
    store.close();
    store.close();
    CHECK(failure([&] { store.put(noise(1, 1)); }) == ErrorKind::kClosed);
    CHECK(failure([&] { store.get(ref); }) == ErrorKind::kClosed);
  }
  disk.pack()[8] = std::byte{9};
  CHECK(failure([&] { ChunkStore("s", disk.options()); }) == ErrorKind::kNewerFormat);
}

TEST_CASE("a store that was only opened has no pack") {
  Disk disk;
  { ChunkStore store("s", disk.options()); }
  CHECK(disk.list("s/packs").empty());
}

}  // namespace flor
