#include "codec/delta.h"

#include "base/error.h"

namespace flor {
namespace {

void check_length(Bytes payload) {
  if (payload.size() < ChunkId::kBytes)
    throw Error(ErrorKind::kCorrupt, "a difference is cut inside the name of its base", {},
                Error::kNoOffset, std::to_string(ChunkId::kBytes) + " bytes",
                std::to_string(payload.size()));
}

}  // namespace

ChunkId delta_base(Bytes payload) {
  check_length(payload);
  ByteReader in(payload);
  return get_id(in);
}

Bytes delta_body(Bytes payload) {
  check_length(payload);
  return payload.subspan(ChunkId::kBytes);
}

}  // namespace flor
