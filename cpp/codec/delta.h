// A chunk stored as its difference to another chunk of the store, its base.
//
//   payload = id of the base (17 bytes), planes encoding with a transform that needs a base
//
// A base has the decoded length of what it is a base of. The names of both are of decoded content,
// so either may be re-encoded without the other.
//
// Thread-safety: free functions without state.
#pragma once

#include "base/bytes.h"
#include "format/chunk_id.h"

namespace flor {

// Readers follow a chunk's base, its base's base and so on this far; a longer chain is corrupt (it
// may be a circle). Snapshots make chains of one, store/recoder.h longer ones.
inline constexpr int kMaxDeltaDepth = 8;

// The name of the base. Throws kCorrupt when `payload` is cut.
ChunkId delta_base(Bytes payload);
// What follows it: an encoding for decode_planes.
Bytes delta_body(Bytes payload);

}  // namespace flor
