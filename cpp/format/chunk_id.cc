#include "format/chunk_id.h"

#include "base/error.h"

namespace flor {

std::string to_text(const ChunkId& id) {
  return id.salt == 0 ? to_hex(id.hash) : to_hex(id.hash) + "+" + std::to_string(id.salt);
}

void put_id(ByteWriter& out, const ChunkId& id) {
  out.put(id.hash.low);
  out.put(id.hash.high);
  out.put(id.salt);
}

ChunkId get_id(ByteReader& in) noexcept {
  ChunkId id;
  id.hash.low = in.get<std::uint64_t>();
  id.hash.high = in.get<std::uint64_t>();
  id.salt = in.get<std::uint8_t>();
  return id;
}

Buffer encode_ref(const ContentRef& ref) {
  ByteWriter out;
  out.put(ref.nbytes);
  for (const ChunkId& id : ref.chunks) put_id(out, id);
  return std::move(out).take();
}

ContentRef decode_ref(Bytes bytes) {
  ByteReader in(bytes);
  ContentRef ref;
  ref.nbytes = in.get<std::uint64_t>();
  const std::uint64_t count = chunk_count(ref.nbytes);
  // Divided, not multiplied: a hostile length must not overflow.
  if (!in.ok() || in.remaining() % ChunkId::kBytes != 0 ||
      in.remaining() / ChunkId::kBytes != count)
    throw Error(ErrorKind::kInvalid,
                "these bytes are not a content reference; pass what put() returned");
  ref.chunks.reserve(count);
  for (std::uint64_t i = 0; i < count; ++i) ref.chunks.push_back(get_id(in));
  return ref;
}

}  // namespace flor
