#include "codec/framed.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "codec/chain.h"
#include "codec/delta.h"

namespace flor {
namespace {

constexpr std::size_t kFrameBytes = 5;

void check_base(Bytes base, std::size_t bytes) {
  if (!base.empty() && base.size() != bytes)
    throw Error(ErrorKind::kInvalid, "a base must be as long as what is encoded", {},
                Error::kNoOffset, std::to_string(bytes), std::to_string(base.size()));
}

}  // namespace

std::size_t framed_bound(std::size_t bytes) noexcept {
  return bytes + chunk_count(bytes) * kFrameBytes;  // what does not gain is stored raw
}

std::size_t encode_framed(Bytes in, Bytes base, MutableBytes out) {
  check_base(base, in.size());
  if (out.size() < framed_bound(in.size()))
    throw Error(ErrorKind::kInvalid, "no room for the encoding", {}, Error::kNoOffset,
                std::to_string(framed_bound(in.size())) + " bytes", std::to_string(out.size()));
  Chain chain;
  Buffer encoded;
  std::size_t used = 0;
  for (std::size_t at = 0; at < in.size(); at += kChunkBytes) {
    const std::size_t length = std::min<std::size_t>(kChunkBytes, in.size() - at);
    const Bytes chunk = in.subspan(at, length);
    const auto find_base = [&] {
      return base.empty() ? DeltaBase{} : DeltaBase{{}, base.subspan(at, length)};
    };
    const Codec codec = chain.encode(chunk, find_base, encoded);
    const Bytes stored = codec == Codec::kNone ? chunk : Bytes(encoded);
    out[used] = static_cast<std::byte>(codec);
    store(out.data() + used + 1, static_cast<std::uint32_t>(stored.size()));
    std::memcpy(out.data() + used + kFrameBytes, stored.data(), stored.size());
    used += kFrameBytes + stored.size();
  }
  return used;
}

void decode_framed(Bytes in, Bytes base, MutableBytes out) {
  check_base(base, out.size());
  ByteReader reader(in);
  for (std::size_t at = 0; at < out.size(); at += kChunkBytes) {
    const MutableBytes chunk = out.subspan(at, std::min<std::size_t>(kChunkBytes, out.size() - at));
    const auto codec = static_cast<Codec>(reader.get<std::uint8_t>());
    const Bytes stored = reader.get_sized();
    if (!reader.ok()) break;
    if (codec != Codec::kDelta)
      decode(codec, stored, chunk);
    else
      decode_planes(delta_body(stored), base.empty() ? Bytes() : base.subspan(at, chunk.size()),
                    chunk);
  }
  if (!reader.ok() || reader.remaining() != 0)
    throw Error(ErrorKind::kCorrupt, "the frames have another length than they should");
}

}  // namespace flor
