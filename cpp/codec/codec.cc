#include "codec/codec.h"

#include <lz4.h>
#include <zstd.h>

#include <climits>
#include <memory>
#include <string>

#include "base/error.h"
#include "codec/planes.h"

namespace flor {
namespace {

constexpr int kZstdLevel = 1;

[[noreturn]] void throw_mismatch(const char* codec, std::size_t expected,
                                 const std::string& found) {
  throw Error(ErrorKind::kCorrupt, std::string("bytes are not a valid ") + codec + " encoding", {},
              Error::kNoOffset, std::to_string(expected) + " decoded bytes", found);
}

const char* chars(Bytes bytes) { return reinterpret_cast<const char*>(bytes.data()); }
char* chars(MutableBytes bytes) { return reinterpret_cast<char*>(bytes.data()); }

void encode_lz4(Bytes in, Buffer& out) {
  out.resize(static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(in.size()))));
  const int size = LZ4_compress_default(chars(in), chars(MutableBytes(out)),
                                        static_cast<int>(in.size()), static_cast<int>(out.size()));
  if (size <= 0) throw Error(ErrorKind::kInvalid, "lz4 refused its input");
  out.resize(static_cast<std::size_t>(size));
}

void encode_zstd(Bytes in, Buffer& out) {
  out.resize(ZSTD_compressBound(in.size()));
  // One context a thread: making one costs more than compressing a small chunk.
  thread_local const std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context(ZSTD_createCCtx(),
                                                                                  &ZSTD_freeCCtx);
  const std::size_t size =
      ZSTD_compressCCtx(context.get(), out.data(), out.size(), in.data(), in.size(), kZstdLevel);
  if (ZSTD_isError(size) != 0) throw Error(ErrorKind::kInvalid, ZSTD_getErrorName(size));
  out.resize(size);
}

void decode_lz4(Bytes in, MutableBytes out) {
  if (in.size() > INT_MAX || out.size() > kMaxCodecInputBytes)
    throw_mismatch("lz4", out.size(), "an impossible length");
  const int size = LZ4_decompress_safe(chars(in), chars(out), static_cast<int>(in.size()),
                                       static_cast<int>(out.size()));
  if (size < 0 || static_cast<std::size_t>(size) != out.size())
    throw_mismatch("lz4", out.size(), size < 0 ? "damage" : std::to_string(size));
}

void decode_zstd(Bytes in, MutableBytes out) {
  const std::size_t size = ZSTD_decompress(out.data(), out.size(), in.data(), in.size());
  if (ZSTD_isError(size) != 0) throw_mismatch("zstd", out.size(), ZSTD_getErrorName(size));
  if (size != out.size()) throw_mismatch("zstd", out.size(), std::to_string(size));
}

}  // namespace

void encode_to(Codec codec, Bytes in, Buffer& out) {
  if (in.size() > kMaxCodecInputBytes)
    throw Error(ErrorKind::kInvalid,
                "a block to encode must be smaller than 2 GiB; cut it in pieces");
  switch (codec) {
    case Codec::kNone:
      out.assign(in.begin(), in.end());
      return;
    case Codec::kLz4:
      return encode_lz4(in, out);
    case Codec::kZstd:
      return encode_zstd(in, out);
    case Codec::kPlanes:
      return encode_planes(choose_layout(in).layout, in, {}, out);
    case Codec::kDelta:
      break;
  }
  throw Error(ErrorKind::kInvalid, "unknown codec " + std::to_string(static_cast<int>(codec)));
}

Buffer encode(Codec codec, Bytes in) {
  Buffer out;
  encode_to(codec, in, out);
  return out;
}

void decode(Codec codec, Bytes in, MutableBytes out) {
  switch (codec) {
    case Codec::kNone:
      if (in.size() != out.size()) throw_mismatch("raw", out.size(), std::to_string(in.size()));
      if (!in.empty()) std::memcpy(out.data(), in.data(), in.size());
      return;
    case Codec::kLz4:
      return decode_lz4(in, out);
    case Codec::kZstd:
      return decode_zstd(in, out);
    case Codec::kPlanes:
      return decode_planes(in, {}, out);
    case Codec::kDelta:
      throw Error(ErrorKind::kInvalid, "a difference can't be decoded without its base");
  }
  throw Error(ErrorKind::kNewerFormat,
              "a chunk has a codec of a newer flor; upgrade flor to read it", {}, Error::kNoOffset,
              "0 to 4", std::to_string(static_cast<int>(codec)));
}

}  // namespace flor
