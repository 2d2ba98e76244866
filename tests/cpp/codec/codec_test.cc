#include "codec/codec.h"

#include <catch2/catch.hpp>

#include "base/error.h"

namespace flor {
namespace {

Buffer text_bytes(std::size_t count) {
  Buffer out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>((i * i / 7) % 23);
  return out;
}

ErrorKind kind_of(const auto& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::kInvalid;
}

const Codec kAll[] = {Codec::kNone, Codec::kLz4, Codec::kZstd, Codec::kPlanes};

}  // namespace

TEST_CASE("every codec gives back every length") {
  for (const Codec codec : kAll)
    for (const std::size_t count : {0, 1, 15, 4096, 65536, 1 << 20}) {
      const Buffer in = text_bytes(count);
      const Buffer coded = encode(codec, in);
      Buffer out(count);
      decode(codec, coded, out);
      REQUIRE(out == in);
    }
}

TEST_CASE("a wrong decoded length is corrupt") {
  const Buffer in = text_bytes(1000);
  for (const Codec codec : kAll) {
    const Buffer coded = encode(codec, in);
    Buffer shorter(999), longer(1001);
    REQUIRE(kind_of([&] { decode(codec, coded, shorter); }) == ErrorKind::kCorrupt);
    REQUIRE(kind_of([&] { decode(codec, coded, longer); }) == ErrorKind::kCorrupt);
  }
}

TEST_CASE("a truncated encoding is corrupt") {
  const Buffer in = text_bytes(1000);
  for (const Codec codec : kAll) {
    const Buffer coded = encode(codec, in);
    for (std::size_t keep = 0; keep < coded.size(); ++keep) {
      Buffer out(in.size());
      REQUIRE(kind_of([&] { decode(codec, Bytes(coded).first(keep), out); }) ==
              ErrorKind::kCorrupt);
    }
  }
}

TEST_CASE("garbage never reads or writes out of bounds") {
  Buffer garbage(300);
  std::uint32_t state = 1;
  for (int round = 0; round < 2000; ++round) {
    for (auto& b : garbage)
      b = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
    Buffer out(1000);
    for (const Codec codec : {Codec::kLz4, Codec::kZstd, Codec::kPlanes}) try {
        decode(codec, garbage, out);
      } catch (const Error& error) {
        REQUIRE(error.kind() == ErrorKind::kCorrupt);
      }
  }
}

TEST_CASE("a codec of a later version is told as such") {
  Buffer out(1);
  REQUIRE(kind_of([&] { decode(static_cast<Codec>(9), text_bytes(1), out); }) ==
          ErrorKind::kNewerFormat);
}

}  // namespace flor
