#include "codec/chain.h"

#include <bit>
#include <catch2/catch.hpp>
#include <random>
#include <string>

#include "codec/delta.h"
#include "format/chunk_id.h"

namespace flor {
namespace {

Buffer floats(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.02F);
  ByteWriter out;
  for (std::size_t i = 0; i < count; ++i) out.put(normal(random));
  return std::move(out).take();
}

Buffer moved(const Buffer& from, unsigned seed) {
  std::mt19937 random(seed);
  Buffer out = from;
  for (std::size_t i = 0; i < out.size(); i += 4)
    store<std::uint32_t>(out.data() + i, load<std::uint32_t>(out.data() + i) + random() % 1000);
  return out;
}

Buffer noise(std::size_t count) {
  std::mt19937 random(1);
  Buffer out(count);
  for (auto& b : out) b = static_cast<std::byte>(random());
  return out;
}

Buffer words(std::size_t count) {
  std::mt19937 random(2);
  const std::string vocabulary[] = {"layer", "weight ", "bias", "norm.", "attention", "\n", "0."};
  std::string text;
  while (text.size() < count) text += vocabulary[random() % 7];
  const Bytes bytes = as_bytes(std::string_view(text).substr(0, count));
  return {bytes.begin(), bytes.end()};
}

struct Coded {
  Codec codec;
  Buffer bytes;
};

Coded code(Chain& chain, const Buffer& chunk, const Buffer& base = {}) {
  Coded out;
  out.codec = chain.encode(
      chunk, [&] { return base.empty() ? DeltaBase{} : DeltaBase{{}, base}; }, out.bytes);
  Buffer back(chunk.size());
  if (out.codec == Codec::kDelta)
    decode_planes(delta_body(out.bytes), base, back);
  else if (out.codec != Codec::kNone)
    decode(out.codec, out.bytes, back);
  if (out.codec != Codec::kNone) REQUIRE(back == chunk);
  return out;
}

}  // namespace

TEST_CASE("each kind of content gets its codec") {
  Chain chain;
  const Buffer weights = floats(16384, 1);
  CHECK(code(chain, weights).codec == Codec::kPlanes);
  chain.begin_tensor();
  CHECK(code(chain, moved(weights, 2), weights).codec == Codec::kDelta);
  chain.begin_tensor();
  CHECK(code(chain, noise(65536)).codec == Codec::kNone);
  chain.begin_tensor();
  CHECK(code(chain, words(65536)).codec == Codec::kZstd);
  chain.begin_tensor();
  CHECK(code(chain, Buffer(40)).codec == Codec::kNone);
  CHECK(code(chain, Buffer()).codec == Codec::kNone);
}

TEST_CASE("a base that is nothing like the chunk is not used") {
  Chain chain;
  CHECK(code(chain, floats(16384, 1), floats(16384, 2)).codec == Codec::kPlanes);
}

TEST_CASE("a tensor that changes its nature is looked at again") {
  Chain chain;
  const Buffer weights = floats(16384, 1), zeros(65536);
  CHECK(code(chain, zeros, zeros).bytes.size() < 100);
  const Coded plain = code(chain, weights);
  CHECK(plain.codec == Codec::kPlanes);
  CHECK(plain.bytes.size() < 0.9 * 65536);
  const Coded delta = code(chain, moved(weights, 2), weights);
  chain.begin_tensor();
  CHECK(code(chain, moved(weights, 2), weights).codec == Codec::kDelta);
  CHECK(code(chain, weights).codec == Codec::kPlanes);  // a base is missing for one chunk
  CHECK(delta.codec != Codec::kNone);
}

TEST_CASE("bases are asked for only where a difference is likely") {
  Chain chain;
  const Buffer weights = floats(16384, 1), other = floats(16384, 2);
  int asked = 0;
  Buffer out;
  for (int i = 0; i < 16; ++i)
    chain.encode(weights, [&] { return ++asked, DeltaBase{{}, other}; }, out);
  CHECK(asked == 1);
}

}  // namespace flor
