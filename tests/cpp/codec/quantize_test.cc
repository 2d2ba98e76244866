#include "codec/quantize.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"

namespace flor {
namespace {

std::vector<float> normal(std::size_t count, float deviation, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> draw(0, deviation);
  std::vector<float> out(count);
  for (float& value : out) value = draw(random);
  return out;
}

double largest_error(std::span<const float> a, std::span<const float> b) {
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - b[i]));
  return most;
}

}  // namespace

TEST_CASE(
    "the stated error holds, for every number of bits, length and kernel, with the same bytes") {
  for (const std::size_t count : {0, 1, 5, 8191, 8192, 8193, 20000})
    for (const unsigned bits : {2U, 4U, 7U, 8U}) {
      const std::vector<float> values = normal(count, 0.02F, bits), base = normal(count, 0.01F, 99);
      for (const auto& from : {std::vector<float>{}, base}) {
        Buffer first;
        for (const Kernels* kernels : all_kernels()) {
          Buffer coded;
          const float stated = quantize(values, from, bits, coded, *kernels);
          if (kernels == all_kernels().front()) first = coded;
          REQUIRE(coded == first);
          std::vector<float> back(count);
          dequantize(coded, from, back, *kernels);
          // The error is computed in floats: one rounding beside what doubles see.
          REQUIRE(largest_error(values, back) <= stated * (1 + 1e-6));
          REQUIRE(stated <= 0.2F / static_cast<float>((1 << (bits - 1)) - 1) / 2 * 1.01F);
        }
      }
    }
}

TEST_CASE("what can't be quantized is exact") {
  std::vector<float> values = normal(20'000, 1, 1);
  values[10] = std::numeric_limits<float>::infinity();
  values[9000] = std::numeric_limits<float>::quiet_NaN();
  values[9001] = -0.0F;
  values[17000] = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 18'000; i < 20'000; ++i) values[i] = 1e-44F;
  Buffer coded;
  const float stated = quantize(values, {}, 8, coded);
  REQUIRE(stated == 0);  // every block has something
  std::vector<float> back(values.size());
  dequantize(coded, {}, back);
  REQUIRE(std::memcmp(back.data(), values.data(), 4 * values.size()) == 0);
}

TEST_CASE("with error feedback the error stays bounded over a hundred encodings") {
  std::vector<float> values = normal(8192, 0.05F, 1), decoded(values.size()), next(values.size());
  Buffer coded;
  quantize(values, {}, 8, coded);
  dequantize(coded, {}, decoded);
  std::size_t bytes = 0;
  for (unsigned step = 0; step < 100; ++step) {
    const std::vector<float> move = normal(values.size(), 1e-4F, 10 + step);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] += move[i];
    const float stated = quantize(values, decoded, 4, coded);
    dequantize(coded, decoded, next);
    decoded = next;
    bytes += coded.size();
    REQUIRE(largest_error(values, decoded) <= stated * (1 + 1e-6));
    if (step > 0) REQUIRE(stated < 6e-5F);  // half a step of the moves, not a hundred of them
  }
  REQUIRE(bytes * 8 < 100 * values.size() * 4);
}

TEST_CASE("a cut or changed encoding, or a wrong base, is corrupt or within bounds") {
  const std::vector<float> values = normal(9000, 1, 1), base = normal(9000, 1, 2);
  Buffer coded;
  quantize(values, base, 8, coded);
  std::vector<float> out(values.size());
  REQUIRE_THROWS_AS(dequantize(coded, {}, out), Error);
  REQUIRE_THROWS_AS(quantize(values, base, 9, coded), Error);
  REQUIRE_THROWS_AS(quantize(values, std::span(base).first(10), 8, coded), Error);
  quantize(values, base, 8, coded);
  for (std::size_t keep = 0; keep < coded.size(); keep += 31) {
    const Buffer cut(coded.begin(), coded.begin() + static_cast<std::ptrdiff_t>(keep));
    REQUIRE_THROWS_AS(dequantize(cut, base, out), Error);
  }
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    Buffer changed = coded;
    changed[random() % changed.size()] = static_cast<std::byte>(random());
    try {
      dequantize(changed, base, out);
    } catch (const Error& error) {
      REQUIRE(error.kind() == ErrorKind::kCorrupt);
    }
  }
}

}  // namespace flor
