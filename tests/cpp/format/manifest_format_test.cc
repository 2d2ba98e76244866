#include "format/manifest_format.h"

#include <catch2/catch.hpp>

#include "golden_file.h"
#include "store_samples.h"

namespace flor {
namespace {

using testing::failure;

Manifest sample() {
  Manifest manifest;
  manifest.totals = {70'000 + 5, 1234, 2, 5, 1'700'000'000'123'456'789};
  const Bytes meta = as_bytes("a tree of tensors");
  manifest.meta.assign(meta.begin(), meta.end());
  manifest.meta_raw_bytes = meta.size();
  manifest.regions.push_back({70'000, {{{1, 2}, 0}, {{3, 4}, 1}}});
  manifest.regions.push_back({0, {}});
  manifest.regions.push_back({5, {{{5, 6}, 0}}});
  return manifest;
}

}  // namespace

TEST_CASE("a manifest comes back as it was") {
  const Manifest before = sample();
  const Manifest after = decode_manifest(encode_manifest(before), "m");
  CHECK(after.regions == before.regions);
  CHECK(after.meta == before.meta);
  CHECK(after.meta_raw_bytes == before.meta_raw_bytes);
  CHECK(after.totals.raw_bytes == before.totals.raw_bytes);
  CHECK(after.totals.stored_bytes == before.totals.stored_bytes);
  CHECK(after.totals.new_chunks == before.totals.new_chunks);
  CHECK(after.totals.dedup_bytes == before.totals.dedup_bytes);
  CHECK(after.totals.time_unix_ns == before.totals.time_unix_ns);
}

TEST_CASE("an empty checkpoint has a manifest") {
  CHECK(decode_manifest(encode_manifest({}), "m").regions.empty());
}

TEST_CASE("a manifest cut anywhere, or longer, is corrupt and says where") {
  Buffer file = encode_manifest(sample());
  for (std::size_t length = 0; length < file.size(); ++length)
    REQUIRE(failure([&] { decode_manifest(Bytes(file).first(length), "m"); }) ==
            ErrorKind::kCorrupt);
  file.push_back(std::byte{0});
  try {
    decode_manifest(file, "runs/1.ckpt");
    FAIL("a longer manifest was read");
  } catch (const Error& error) {
    CHECK(error.path() == "runs/1.ckpt");
    CHECK(error.offset() == static_cast<std::int64_t>(file.size()));
  }
}

TEST_CASE("every flipped byte of a manifest is an error") {
  Buffer file = encode_manifest(sample());
  for (std::size_t at = 0; at < file.size(); ++at) {
    file[at] ^= std::byte{1};
    const auto kind = failure([&] { decode_manifest(file, "m"); });
    REQUIRE(
        (kind == ErrorKind::kCorrupt || (kind == ErrorKind::kNewerFormat && at >= 8 && at < 12)));
    file[at] ^= std::byte{1};
  }
}

TEST_CASE("a later version is told apart from damage") {
  Buffer file = encode_manifest(sample());
  file[8] = std::byte{2};
  CHECK(failure([&] { decode_manifest(file, "m"); }) == ErrorKind::kNewerFormat);
}

TEST_CASE("a content reference comes back; other bytes are refused") {
  const ContentRef ref = sample().regions[0];
  const Buffer bytes = encode_ref(ref);
  CHECK(bytes.size() == 8 + 2 * ChunkId::kBytes);
  CHECK(decode_ref(bytes) == ref);
  for (std::size_t length = 0; length < bytes.size(); ++length)
    REQUIRE(failure([&] { decode_ref(Bytes(bytes).first(length)); }) == ErrorKind::kInvalid);
  Buffer huge = bytes;
  store(huge.data(), ~std::uint64_t{0});
  CHECK(failure([&] { decode_ref(huge); }) == ErrorKind::kInvalid);
}

TEST_CASE("golden manifest") {
  const Buffer made = encode_manifest(sample());
  const Buffer golden = testing::golden_file("manifest/v1.ckpt", made);
  CHECK(golden == made);
  CHECK(decode_manifest(golden, "v1.ckpt").regions == sample().regions);
}

}  // namespace flor
