#include "codec/affine.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "codec/block.h"

namespace flor {
namespace {

enum class Shape { kNormal, kRelu, kPositive, kConstant, kTiny };

std::vector<float> values_of(Shape shape, std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0, 3);
  std::vector<float> out(count);
  for (float& value : out) {
    const float x = draw(random);
    switch (shape) {
      case Shape::kNormal:
        value = x;
        break;
      case Shape::kRelu:
        value = std::max(x, 0.0F);
        break;
      case Shape::kPositive:
        value = 100 + x;
        break;
      case Shape::kConstant:
        value = -2.5F;
        break;
      case Shape::kTiny:
        value = x * 1e-30F;
        break;
    }
  }
  return out;
}

struct Coded {
  Buffer bytes;
  float error = 0;
};
Coded encoded(const std::vector<float>& values, std::size_t channels, const Kernels& kernels) {
  Coded out{Buffer(affine_bytes(values.size(), channels)), 0};
  out.error = affine_encode(values, value_stats(values, channels, kernels), out.bytes, kernels);
  return out;
}

}  // namespace

TEST_CASE("affine: the stated error holds, zeros stay zeros, kernels give the same bytes") {
  for (const Shape shape :
       {Shape::kNormal, Shape::kRelu, Shape::kPositive, Shape::kConstant, Shape::kTiny})
    for (const std::size_t channels : {1, 3, 64, 100})
      for (const std::size_t rows : {1, 2, 7, 300}) {
        const std::vector<float> values = values_of(shape, rows * channels, 7);
        const Coded first = encoded(values, channels, *all_kernels().front());
        for (const Kernels* kernels : all_kernels()) {
          const Coded coded = encoded(values, channels, *kernels);
          REQUIRE(coded.bytes == first.bytes);
          REQUIRE(coded.error == first.error);
          std::vector<float> back(values.size());
          const std::size_t width = channels == 1 ? values.size() : channels;
          affine_decode(coded.bytes, channels, values.size() / width, width, back.data(), width,
                        *kernels);
          for (std::size_t i = 0; i < values.size(); ++i) {
            REQUIRE(std::abs(static_cast<double>(values[i]) - back[i]) <= coded.error * (1 + 1e-6));
            if (values[i] == 0) REQUIRE(back[i] == 0);
          }
        }
      }
}

TEST_CASE("affine: an error is at most about half a step of the channel") {
  const std::vector<float> values = values_of(Shape::kNormal, 64 * 500, 3);
  const auto stats = value_stats(values, 1);
  const Coded coded = encoded(values, 1, kernels());
  REQUIRE(coded.error <= (stats[0].high - stats[0].low) / 255 * 0.501F);
}

TEST_CASE("affine: rows may lie apart") {
  const std::vector<float> values = values_of(Shape::kNormal, 10 * 6, 1);
  for (const std::size_t channels : {1, 6}) {
    const Coded coded = encoded(values, channels, kernels());
    std::vector<float> together(60), apart(10 * 9, -1);
    affine_decode(coded.bytes, channels, 10, 6, together.data(), 6);
    affine_decode(coded.bytes, channels, 10, 6, apart.data(), 9);
    for (std::size_t row = 0; row < 10; ++row)
      for (std::size_t i = 0; i < 9; ++i)
        REQUIRE(apart[row * 9 + i] == (i < 6 ? together[row * 6 + i] : -1));
  }
}

TEST_CASE("affine: what it can't keep is said, what does not fit is refused") {
  for (const float odd :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e-44F}) {
    std::vector<float> values(100, 0);
    values[41] = odd;
    REQUIRE(std::isnan(encoded(values, 1, kernels()).error));
  }
  std::vector<float> wide(100, std::numeric_limits<float>::max());
  wide[3] = -wide[3];
  REQUIRE(std::isnan(encoded(wide, 1, kernels()).error));
  std::vector<float> out(10);
  REQUIRE_THROWS_AS(affine_decode(Buffer(18), 1, 1, 10, out.data(), 10), Error);
}

TEST_CASE("stats: zeros, numbers that are none, and ranges a channel") {
  std::vector<float> values{0, 5, -1, std::numeric_limits<float>::quiet_NaN(), 0, 7};
  const auto each = value_stats(values, 2);  // 0 -1 0 and 5 NaN 7
  REQUIRE(each[0].low == -1);
  REQUIRE(each[0].high == 0);
  REQUIRE(each[0].zeros == 2);
  REQUIRE(each[0].finite);
  REQUIRE(each[1].low == 5);
  REQUIRE(each[1].high == 7);
  REQUIRE(each[1].odd == 1);
  REQUIRE_FALSE(each[1].finite);
}

TEST_CASE("blocks: each part by itself, those with odd values exact") {
  const std::vector<std::uint32_t> widths{16, 16, 4};
  const std::size_t rows = 50, row = 36;
  std::vector<float> block = values_of(Shape::kRelu, rows * row, 9);
  block[5 * row + 20] = std::numeric_limits<float>::infinity();  // the second part
  Buffer out(block_bound(rows, widths));
  std::vector<BlockPart> parts;
  const std::size_t used = encode_block(block, rows, widths, false, ValueCode::kAffine, out, parts);
  REQUIRE(parts.size() == 3);
  REQUIRE(parts[0].code == 3);
  REQUIRE(parts[1].code == 0);
  REQUIRE(parts[1].length == rows * 16 * sizeof(float));
  REQUIRE(parts[2].start + parts[2].length == used);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < 16; ++i)
      REQUIRE(load<float>(out.data() + parts[1].start + (r * 16 + i) * sizeof(float)) ==
              block[r * row + 16 + i]);
  REQUIRE_THROWS_AS(encode_block(block, rows + 1, widths, false, ValueCode::kExact, out, parts),
                    Error);
}

}  // namespace flor
