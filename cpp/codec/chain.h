// Which codec each chunk of a tensor gets: chosen by a sample, kept while it gains.
//
// The setting *fast*: a sample of a chunk says which of raw, lz4, zstd, planes and a difference to
// the chunk's base is smallest. Neighbouring chunks of a tensor are alike, so the next are encoded
// the same way without looking, until one comes out larger than expected or sixteen are done.
//
// Thread-safety: a Chain belongs to one thread.
#pragma once

#include <functional>

#include "base/bytes.h"
#include "codec/codec.h"
#include "codec/planes.h"
#include "format/chunk_id.h"

namespace flor {

// A chunk that another may be stored as a difference to.
struct DeltaBase {
  ChunkId id;
  Bytes bytes;  // decoded; empty when there is none
};

class Chain {
 public:
  // Gives the base of the current chunk; asked only when a difference may pay.
  using FindBase = std::function<DeltaBase()>;

  // What comes next is another tensor.
  void begin_tensor() noexcept { chunks_until_look_ = 0; }

  // Encodes `chunk` into `out` and says how. kNone: it does not gain at least a twentieth; `out` is
  // void.
  Codec encode(Bytes chunk, const FindBase& find_base, Buffer& out);

 private:
  void look(Bytes chunk, const DeltaBase& base);
  Codec encode_chosen(Bytes chunk, const DeltaBase& base, Buffer& out);
  void encode_as(Codec codec, Bytes chunk, const DeltaBase& base, Buffer& out);

  Codec codec_ = Codec::kNone, without_base_ = Codec::kNone;
  PlaneLayout plain_, difference_;
  double expected_share_ = 1;
  unsigned chunks_until_look_ = 0;
  Buffer scratch_;
};

}  // namespace flor
