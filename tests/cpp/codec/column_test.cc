#include "codec/column.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <random>

#include "base/error.h"
#include "codec/decimals.h"
#include "codec/streams.h"

namespace flor {
namespace {

constexpr int kLevel = 5;  // chains are chosen alike, tests are faster

template <typename T>
Buffer bytes_of(const std::vector<T>& values) {
  const auto* raw = reinterpret_cast<const std::byte*>(values.data());
  return {raw, raw + values.size() * sizeof(T)};
}

// Round trip; returns the encoded size.
std::size_t kept(const Buffer& in, ColumnKind kind, const Buffer& base = {}) {
  Buffer coded, back(in.size());
  encode_column(in, kind, base, kLevel, coded);
  decode_column(coded, column_needs_base(coded) ? Bytes(base) : Bytes(), back);
  REQUIRE(back == in);
  return coded.size();
}

}  // namespace

TEST_CASE("columns: every shape of content comes back") {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal(0, 10);
  for (const std::size_t count : {0, 1, 2, 3, 9, 5000}) {
    std::vector<double> noise(count), cents(count), holes(count), few(count), huge(count);
    std::vector<std::int64_t> ids(count);
    std::vector<float> singles(count);
    for (std::size_t i = 0; i < count; ++i) {
      noise[i] = normal(random);
      cents[i] = std::round(noise[i] * 100) / 100;
      holes[i] = i % 3 == 0 ? std::nan("7") : std::floor(noise[i]);
      few[i] = static_cast<double>(random() % 7) * 0.1;
      huge[i] = i % 2 == 0 ? -0.0 : std::numeric_limits<double>::infinity();
      ids[i] = static_cast<std::int64_t>(3 * i) - 7;
      singles[i] = std::round(static_cast<float>(noise[i]) * 4) / 4;
    }
    for (const auto& values : {noise, cents, holes, few, huge}) kept(bytes_of(values), {8, true});
    kept(bytes_of(ids), {8, false});
    kept(bytes_of(singles), {4, true});
    for (const unsigned width : {1U, 2U, 4U, 8U})
      kept(Buffer(count * width, std::byte{3}), {width, false});
  }
}

TEST_CASE("columns: what has structure gets small") {
  std::mt19937_64 random(1);
  std::vector<double> cents(20'000), cities(20'000);
  std::vector<std::int64_t> ids(20'000);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    cents[i] = static_cast<double>(random() % 1'000'000) / 100;
    cities[i] = std::sin(static_cast<double>(random() % 40));
    ids[i] = static_cast<std::int64_t>(i);
  }
  REQUIRE(kept(bytes_of(cents), {8, true}) < 20'000 * 2.7);    // 20 bits each
  REQUIRE(kept(bytes_of(cities), {8, true}) < 20'000 * 0.75);  // 5.3 bits each
  REQUIRE(kept(bytes_of(ids), {8, false}) < 200);
}

TEST_CASE("columns: a difference is taken where it wins, and needs its base") {
  std::mt19937_64 random(2);
  std::normal_distribution<double> normal(0, 1);
  std::vector<double> base(8000), near(8000), other(8000);
  for (std::size_t i = 0; i < base.size(); ++i) {
    base[i] = normal(random);
    near[i] = i % 100 == 0 ? 0 : base[i];
    other[i] = normal(random);
  }
  REQUIRE(kept(bytes_of(near), {8, true}, bytes_of(base)) < 8000);
  REQUIRE(kept(bytes_of(base), {8, true}, bytes_of(base)) < 200);
  const std::size_t alone = kept(bytes_of(near), {8, true});
  REQUIRE(kept(bytes_of(near), {8, true}, bytes_of(other)) == alone);

  Buffer coded, back(near.size() * 8);
  encode_column(bytes_of(near), {8, true}, bytes_of(base), kLevel, coded);
  REQUIRE(column_needs_base(coded));
  REQUIRE_THROWS_AS(decode_column(coded, {}, back), Error);
  REQUIRE_THROWS_AS(encode_column(bytes_of(near), {8, true}, Buffer(8), kLevel, coded), Error);
  REQUIRE_THROWS_AS(encode_column(Buffer(9), {8, true}, {}, kLevel, coded), Error);
}

TEST_CASE("columns: damaged bytes are an error or other values, never a crash") {
  std::mt19937_64 random(3);
  std::vector<double> cents(300), few(300), noise(300);
  for (std::size_t i = 0; i < cents.size(); ++i) {
    cents[i] = i % 11 == 0 ? std::nan("") : static_cast<double>(random() % 5000) / 100;
    few[i] = std::sin(static_cast<double>(random() % 9));
    noise[i] = static_cast<double>(random());
  }
  for (const auto& values : {cents, few, noise}) {
    const Buffer in = bytes_of(values);
    Buffer coded, back(in.size());
    encode_column(in, {8, true}, {}, kLevel, coded);
    for (std::size_t cut = 0; cut < coded.size(); ++cut)
      REQUIRE_THROWS_AS(decode_column(Bytes(coded).first(cut), {}, back), Error);
    for (int turn = 0; turn < 2000; ++turn) {
      Buffer bad = coded;
      bad[random() % bad.size()] ^= static_cast<std::byte>(1 + random() % 255);
      try {
        decode_column(bad, {}, back);
      } catch (const Error&) {
      }
    }
  }
}

TEST_CASE("decimals: the very bits come back, negative zeros and NaNs as they are") {
  std::vector<double> values{0.1, 0.25, -3.5, 1e6, -0.0, std::nan("9"), 0.3, 17};
  for (int i = 0; i < 200; ++i) values.push_back(i / 100.0);
  const Buffer in = bytes_of(values);
  const auto decimals = find_decimals(in, 8);
  REQUIRE(decimals);
  REQUIRE(decimals->places == 2);
  REQUIRE(decimals->odd_count == 2);
  Buffer back(in.size());
  put_decimals(*decimals, 8, back);
  REQUIRE(back == in);
  std::vector<double> irrational(100);
  for (std::size_t i = 0; i < 100; ++i) irrational[i] = std::sqrt(2.0 + static_cast<double>(i));
  REQUIRE_FALSE(find_decimals(bytes_of(irrational), 8));
}

TEST_CASE("streams: raw, constant, repeated and skewed bytes") {
  std::mt19937 random(4);
  for (const int shape : {0, 1, 2, 3}) {
    Buffer in(3000);
    for (std::size_t i = 0; i < in.size(); ++i)
      in[i] = static_cast<std::byte>(shape == 0   ? random()
                                     : shape == 1 ? 7
                                     : shape == 2 ? i % 50
                                                  : (random() % 16 == 0 ? random() : 0));
    ByteWriter out;
    put_stream(in, kLevel, out);
    REQUIRE(out.size() <= in.size() + 1);
    ByteReader reader(out.view());
    REQUIRE(get_stream(reader, in.size()) == in);
    REQUIRE(reader.remaining() == 0);
  }
}

}  // namespace flor
