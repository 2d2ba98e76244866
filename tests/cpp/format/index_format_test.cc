#include "format/index_format.h"

#include <catch2/catch.hpp>

#include "golden_file.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::failure;

const std::vector<index::Pack> kPacks{{0x0123456789abcdef, 5000}, {0xfedcba9876543210, 70'000}};

std::vector<index::Place> sample(std::uint64_t count) {
  std::vector<index::Place> places;
  for (std::uint64_t i = 0; i < count; ++i) {
    pack::ChunkEntry entry;
    entry.id = {{i * 0x9E3779B97F4A7C15, i % 7}, static_cast<std::uint8_t>(i % 3)};
    entry.checksum = ~i;
    entry.offset = 64 * i;
    entry.raw_bytes = 65536;
    entry.stored_bytes = static_cast<std::uint32_t>(100 + i);
    entry.codec = static_cast<std::uint8_t>(i % 5);
    places.push_back({entry, static_cast<std::uint32_t>(i % 2)});
  }
  return places;
}

}  // namespace

TEST_CASE("an index gives back every place, by its number and by its name") {
  for (const std::uint64_t count : {0, 1, 11, 12, 13, 5000}) {
    const auto places = sample(count);
    const Buffer file = index::encode_index(kPacks, places);
    const index::View view(file, "i");
    REQUIRE(view.size() == count);
    REQUIRE(view.packs() == kPacks);
    std::uint64_t stored = 0;
    for (std::uint64_t i = 0; i < count; ++i) {
      REQUIRE(view.place(i) == places[i]);
      std::vector<std::uint32_t> found;
      view.find(places[i].entry.id, [&](std::uint32_t number) {
        found.push_back(number);
        return false;
      });
      REQUIRE(found == std::vector<std::uint32_t>{static_cast<std::uint32_t>(i)});
      stored += places[i].entry.stored_bytes;
    }
    CHECK(view.stored_bytes() == stored);
    CHECK(view.raw_bytes() == count * 65536);
    CHECK(!view.find({{42, 42}, 0}, [](std::uint32_t) { return true; }));
  }
}

TEST_CASE("several places of one name are all found, in their order") {
  auto places = sample(3);
  places[2].entry.id = places[1].entry.id = places[0].entry.id;
  const Buffer file = index::encode_index(kPacks, places);
  std::vector<std::uint32_t> found;
  const index::View view(file, "i");
  view.find(places[0].entry.id, [&](std::uint32_t number) {
    found.push_back(number);
    return false;
  });
  CHECK(found == std::vector<std::uint32_t>{0, 1, 2});
}

TEST_CASE("an index with any byte changed, or cut anywhere, is refused") {
  const Buffer whole = index::encode_index(kPacks, sample(20));
  for (std::size_t i = 0; i < whole.size(); ++i) {
    Buffer file = whole;
    file[i] ^= std::byte{0x40};
    REQUIRE(failure([&] { index::View(file, "i"); }).has_value());
    file = whole;
    file.resize(i);
    REQUIRE(failure([&] { index::View(file, "i"); }) == ErrorKind::kCorrupt);
  }
}

TEST_CASE("golden index") {
  const Buffer made = index::encode_index(kPacks, sample(3));
  const Buffer golden = testing::golden_file("index/v1.index", made);
  CHECK(golden == made);
  CHECK(index::View(golden, "v1.index").place(2) == sample(3)[2]);
}

}  // namespace flor
