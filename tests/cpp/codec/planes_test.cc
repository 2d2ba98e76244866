#include "codec/planes.h"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <random>

#include "base/error.h"
#include "codec/rans.h"
#include "golden_file.h"

namespace flor {
namespace {

const Transform kAllTransforms[] = {Transform::kNone, Transform::kRotate,
                                    Transform::kFloatDifference, Transform::kIntDifference,
                                    Transform::kXor};

template <typename T>
Buffer bytes_of(const std::vector<T>& values) {
  const auto* raw = reinterpret_cast<const std::byte*>(values.data());
  return {raw, raw + values.size() * sizeof(T)};
}

// Normal values, and among them everything that is special about floats.
std::vector<float> weights(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02F);
  std::vector<float> out(count);
  for (float& value : out) value = normal(random);
  const float special[] = {0.0F,
                           -0.0F,
                           INFINITY,
                           -INFINITY,
                           NAN,
                           -NAN,
                           1e-45F,
                           -1e-45F,
                           1.17549435e-38F,
                           std::bit_cast<float>(0x7FFFFFFFu),
                           std::bit_cast<float>(0xFF800001u)};
  for (std::size_t i = 0; i < std::size(special) && i < count / 2; ++i) out[2 * i] = special[i];
  return out;
}

std::vector<float> next_step(std::vector<float> values, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 1e-5F);
  for (float& value : values) value += normal(random);
  return values;
}

Buffer noise(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  Buffer out(count);
  for (auto& b : out) b = static_cast<std::byte>(random());
  return out;
}

Buffer decoded(Bytes coded, Bytes base, std::size_t size, const Kernels& kernels) {
  Buffer out(size);
  decode_planes(coded, base, out, kernels);
  return out;
}

bool is_corrupt(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind() == ErrorKind::kCorrupt;
  }
  return false;
}

// Lengths about the edges: of an element, of a block of lanes, of what a sample looks at.
const std::size_t kLengths[] = {0, 1, 7, 8, 31, 127, 128, 129, 255, 1021, 4096, 16391, 65536};

}  // namespace

TEST_CASE("every kernel, width and transform gives every content back, with the same bytes") {
  const Buffer now = bytes_of(next_step(weights(20000, 1), 2)),
               before = bytes_of(weights(20000, 1));
  const Buffer random = noise(80000, 3), zeros(80000);
  Buffer half = now;  // floats, every other row of zeros
  for (std::size_t i = 0; i < half.size(); ++i)
    if (i / 512 % 2 == 0) half[i] = std::byte{0};
  for (const Bytes content : {Bytes(now), Bytes(random), Bytes(zeros), Bytes(half)})
    for (const Transform transform : kAllTransforms)
      for (const bool is_sparse : {false, true})
        for (const std::uint8_t width : {1, 2, 4, 8})
          for (const std::size_t length : kLengths) {
            // From an odd address on.
            const Bytes in = content.subspan(1, length);
            const Bytes base = needs_base(transform) ? Bytes(before).subspan(1, length) : Bytes();
            Buffer first;
            for (const Kernels* kernels : all_kernels()) {
              Buffer coded;
              encode_planes({width, transform, is_sparse}, in, base, coded, *kernels);
              if (kernels == all_kernels().front()) first = coded;
              CAPTURE(kernels->name, static_cast<int>(transform), is_sparse, int{width}, length);
              REQUIRE(coded == first);
              REQUIRE(std::ranges::equal(decoded(coded, base, length, *kernels), in));
            }
          }
}

TEST_CASE("this processor's kernels are among those tested") {
  REQUIRE(all_kernels().front()->name == std::string("scalar"));
  REQUIRE(all_kernels().back() == &kernels());
}

TEST_CASE("floats lose their exponents, a difference more, noise nothing") {
  const Buffer before = bytes_of(weights(16384, 1)),
               now = bytes_of(next_step(weights(16384, 1), 2));
  Buffer coded;
  encode_planes({4, Transform::kRotate}, now, {}, coded);
  REQUIRE(coded.size() < now.size() * 0.88);
  const std::size_t plain = coded.size();
  encode_planes({4, Transform::kFloatDifference}, now, before, coded);
  REQUIRE(coded.size() < plain * 0.85);
  encode_planes({4, Transform::kNone}, noise(65536, 5), {}, coded);
  REQUIRE(coded.size() < 65536 + 16);
  encode_planes({4, Transform::kFloatDifference}, now, now, coded);
  REQUIRE(coded.size() < 16);
}

TEST_CASE("the sample finds the width and what changed") {
  const Buffer now = bytes_of(next_step(weights(16384, 1), 2)),
               before = bytes_of(weights(16384, 1));
  REQUIRE(choose_layout(now).layout == PlaneLayout{4, Transform::kRotate});
  REQUIRE(choose_difference(now, before).layout == PlaneLayout{4, Transform::kFloatDifference});
  std::mt19937 random(3);
  std::normal_distribution<double> normal(0, 0.02);
  std::vector<double> doubles;
  std::vector<std::uint16_t> halves;  // bfloat16: the upper half of a float
  for (const float value : weights(8192, 7)) {
    doubles.push_back(normal(random));
    halves.push_back(static_cast<std::uint16_t>(std::bit_cast<std::uint32_t>(value) >> 16));
  }
  REQUIRE(choose_layout(bytes_of(doubles)).layout.width == 8);
  REQUIRE(choose_layout(bytes_of(halves)).layout.width == 2);
  REQUIRE(choose_layout(noise(65536, 1)).share > 0.98);
  std::vector<std::int64_t> indices;
  for (int i = 0; i < 8192; ++i) indices.push_back(i * 37 % 1000);
  const LayoutChoice integers = choose_layout(bytes_of(indices));
  REQUIRE(integers.layout.width == 8);
  REQUIRE(integers.share < 0.25);
}

TEST_CASE("frequencies sum up, keep every symbol, and survive their encoding") {
  std::mt19937 random(4);
  for (int round = 0; round < 300; ++round) {
    Histogram counts{};
    const std::size_t symbols = 2 + random() % 255;
    for (std::size_t s = 0; s < symbols; ++s)
      counts[round % 2 ? s : 255 - s] = 1 + (random() % 4 == 0 ? random() % 1000000 : random() % 3);
    const Frequencies fitted = Frequencies::fit(counts);
    std::uint32_t sum = 0;
    for (std::size_t s = 0; s < 256; ++s) {
      REQUIRE((counts[s] == 0) == (fitted.of[s] == 0));
      sum += fitted.of[s];
    }
    REQUIRE(sum == kRansScale);
    ByteWriter out;
    put_frequencies(out, fitted);
    ByteReader in(out.view());
    REQUIRE(get_frequencies(in).of == fitted.of);
    REQUIRE(in.remaining() == 0);
  }
}

TEST_CASE("a cut or changed encoding is corrupt or decodes to something, within bounds") {
  const Buffer now = bytes_of(next_step(weights(700, 1), 2)), before = bytes_of(weights(700, 1));
  for (const Kernels* kernels : all_kernels())
    for (const auto& [transform, sparse] : {std::pair{Transform::kRotate, false},
                                            {Transform::kFloatDifference, false},
                                            {Transform::kXor, true}}) {
      const Bytes base = needs_base(transform) ? Bytes(before) : Bytes();
      Buffer coded;
      encode_planes({4, transform, sparse}, now, base, coded, *kernels);
      for (std::size_t keep = 0; keep < coded.size(); ++keep) {
        // A buffer of its own, so that ASan sees one byte too many.
        const Buffer cut(coded.begin(), coded.begin() + static_cast<std::ptrdiff_t>(keep));
        REQUIRE(is_corrupt([&] { decoded(cut, base, now.size(), *kernels); }));
      }
      std::mt19937 random(9);
      for (int round = 0; round < 3000; ++round) {
        Buffer changed = coded;
        for (unsigned i = 0; i <= random() % 4; ++i)
          changed[random() % (round % 3 == 0 ? std::min<std::size_t>(changed.size(), 200)
                                             : changed.size())] = static_cast<std::byte>(random());
        try {
          decoded(changed, base, now.size(), *kernels);
        } catch (const Error& error) {
          REQUIRE(error.kind() == ErrorKind::kCorrupt);
        }
      }
    }
}

TEST_CASE("a base of another length, or none, or one too many, is told") {
  const Buffer in = noise(64, 1), shorter = noise(60, 2);
  Buffer coded;
  REQUIRE_THROWS_AS(encode_planes({4, Transform::kXor}, in, shorter, coded), Error);
  REQUIRE_THROWS_AS(encode_planes({4, Transform::kRotate}, in, in, coded), Error);
  REQUIRE_THROWS_AS(encode_planes({3, Transform::kRotate}, in, {}, coded), Error);
  encode_planes({4, Transform::kXor}, in, in, coded);
  REQUIRE(is_corrupt([&] { decoded(coded, {}, in.size(), kernels()); }));
  REQUIRE(is_corrupt([&] { decoded(coded, shorter, in.size(), kernels()); }));
}

TEST_CASE("golden encodings are read as ever") {
  // Made with integers only: no library may round it differently.
  std::uint32_t state = 1;
  const auto next = [&state] { return state = state * 1664525 + 1013904223; };
  std::vector<std::uint32_t> before, now;
  for (int i = 0; i < 700; ++i) {
    const std::uint32_t exponent =
        110 + static_cast<std::uint32_t>(std::countr_zero(next() | 1 << 12));
    before.push_back((next() & 0x80000000) | exponent << 23 | next() >> 9);
    now.push_back(before.back() + (next() >> 20));
  }
  const Buffer plain = bytes_of(now), base = bytes_of(before);
  Buffer coded;
  encode_planes({4, Transform::kRotate}, plain, {}, coded);
  REQUIRE(decoded(testing::golden_file("codec/planes", coded), {}, plain.size(), kernels()) ==
          plain);
  encode_planes({4, Transform::kFloatDifference}, plain, base, coded);
  REQUIRE(decoded(testing::golden_file("codec/planes_difference", coded), base, plain.size(),
                  kernels()) == plain);
  Buffer gaps = plain;
  for (std::size_t i = 0; i < gaps.size(); ++i)
    if (i / 36 % 3 == 0) gaps[i] = std::byte{0};
  encode_planes({4, Transform::kRotate, true}, gaps, {}, coded);
  REQUIRE(decoded(testing::golden_file("codec/planes_sparse", coded), {}, gaps.size(), kernels()) ==
          gaps);
}

}  // namespace flor
