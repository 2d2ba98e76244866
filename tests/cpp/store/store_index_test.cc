// A store that opens by its index file is the store that reads its packs.
#include <algorithm>
#include <catch2/catch.hpp>

#include "faulty_files.h"
#include "store/chunk_store.h"
#include "store/sweeper.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::FaultyFiles;
using testing::noise;

const std::string kFile = "s/chunks.index";

struct Disk : FaultyFiles {
  Disk() { write_atomically("s/flor.json", as_bytes("{}")); }
  std::shared_ptr<ChunkStore> open(bool readonly = true, bool use_index = true) {
    ChunkStoreOptions options;
    options.files = this;
    options.readonly = readonly;
    options.use_index = use_index;
    options.index_chunks = 4;
    return std::make_shared<ChunkStore>("s", options);
  }
  std::vector<ContentRef> fill(std::uint64_t first, std::uint64_t count) {
    std::vector<ContentRef> refs;
    const auto store = open(false);
    for (std::uint64_t i = first; i < first + count; ++i) refs.push_back(store->put(noise(500, i)));
    store->close();
    return refs;
  }
};

void same(Disk& disk) {
  const auto by_index = disk.open(), by_packs = disk.open(true, false);
  const StoreStats a = by_index->stats(), b = by_packs->stats();
  CHECK(a.chunks == b.chunks);
  CHECK(a.raw_bytes == b.raw_bytes);
  CHECK(a.stored_bytes == b.stored_bytes);
  CHECK(a.packs == b.packs);
  CHECK(by_index->verify().empty());
}

}  // namespace

TEST_CASE("a writer that closes leaves an index, and the next open reads the same") {
  Disk disk;
  const auto first = disk.fill(1, 3);
  CHECK(!disk.exists(kFile));  // too few
  const auto second = disk.fill(100, 20);
  REQUIRE(disk.exists(kFile));
  same(disk);
  const auto third = disk.fill(200, 2);  // not an eighth: read beside the index
  same(disk);
  const auto store = disk.open();
  CHECK(store->get(first[2]) == noise(500, 3));
  CHECK(store->get(second[7]) == noise(500, 107));
  CHECK(store->get(third[1]) == noise(500, 201));
  CHECK(!store->index_problem());
}

TEST_CASE("what the index knows is found again, not stored again") {
  Disk disk;
  disk.fill(1, 20);
  const auto store = disk.open(false);
  store->put(noise(500, 7));
  CHECK(store->stats().dedup_hits == 1);
}

TEST_CASE("an index that is damaged is told and left aside") {
  Disk disk;
  const auto refs = disk.fill(1, 20);
  disk.raw(kFile)[200] ^= std::byte{1};
  CHECK(disk.open()->index_problem());
  same(disk);
  CHECK(disk.open()->get(refs[0]) == noise(500, 1));
  disk.open(false)->renew_index();
  CHECK(!disk.open()->index_problem());
}

TEST_CASE("an index of packs that are gone, cut or others is left aside") {
  for (const int what : {0, 1, 2}) {
    Disk disk;
    disk.fill(1, 20);
    const auto kept = disk.fill(50, 20);
    const std::string pack = join_path("s/packs", disk.list("s/packs")[0]);
    if (what == 0) disk.remove(pack);
    if (what == 1) disk.raw(pack).resize(disk.raw(pack).size() / 2);
    if (what == 2) disk.raw(pack)[disk.raw(pack).size() - 30] ^= std::byte{1};
    same(disk);
  }
}

TEST_CASE("after a sweep the index is of the packs that are left") {
  Disk disk;
  const auto refs = disk.fill(1, 30);
  {
    const auto store = disk.open(false);
    Sweeper sweeper(store);
    sweeper.mark(refs[4]);
    sweeper.sweep({}, {});
    CHECK(store->get(refs[4]) == noise(500, 5));  // its place in the index is gone
    store->renew_index();
  }
  same(disk);
  CHECK(disk.open()->stats().chunks == 1);
  CHECK(disk.open()->get(refs[4]) == noise(500, 5));
}

TEST_CASE("a copy that turns out damaged is looked for no more, though the index has it") {
  Disk disk;
  const auto refs = disk.fill(1, 20);
  auto& file = disk.raw(join_path("s/packs", disk.list("s/packs")[0]));
  const auto store = disk.open(false);
  const Buffer content = noise(500, 3);
  const auto at = std::search(file.begin(), file.end(), content.begin(), content.end());
  REQUIRE(at != file.end());
  *at ^= std::byte{1};
  const auto fresh = disk.open(false);
  CHECK(fresh->put(content) == refs[2]);
  CHECK(fresh->get(refs[2]) == content);
  CHECK(fresh->stats().chunks == 20);
}

}  // namespace flor
