#include "store/recoder.h"

#include <algorithm>

#include "base/error.h"
#include "codec/codec.h"
#include "codec/layout.h"
#include "codec/planes.h"

namespace flor {
namespace {

// A smaller gain is not worth a longer chain.
constexpr double kLeastGain = 0.02;
// As Chain has it: less is not worth a second chunk on every read.
constexpr double kLeastShare = 0.95;
constexpr int kTooDeep = 2 * kMaxDeltaDepth;

bool is_difference(const ChunkPlace& place) noexcept {
  return place.codec == static_cast<std::uint8_t>(Codec::kDelta);
}

}  // namespace

Recoder::Recoder(ChunkStore& store) : store_(store) {
  for (const ChunkPlace& place : store_.places())
    if (const auto base = base_of(place)) bases_.insert(*base);
}

std::optional<ChunkId> Recoder::base_of(const ChunkPlace& place) const {
  if (!is_difference(place)) return std::nullopt;
  try {
    return delta_base(store_.mapped_bytes(place).bytes);
  } catch (const Error&) {
    return std::nullopt;  // cut off, or in a pack that is gone
  }
}

void Recoder::pair(const ContentRef& ref, const ContentRef& neighbour) {
  if (ref.nbytes != neighbour.nbytes) return;
  for (std::size_t i = 0; i < ref.chunks.size(); ++i)
    pair_chunk(ref.chunks[i], neighbour.chunks[i]);
}

void Recoder::pair_chunk(const ChunkId& id, const ChunkId& neighbour) {
  if (id == neighbour || plans_.contains(id)) return;
  bool other = false;
  for (const ChunkPlace& place : store_.places_of(id)) {
    other |= base_of(place) != neighbour;
  }
  if (!other) return;
  const int now = depth(id), then = depth(neighbour) + 1;
  const int longest = bases_.contains(id) ? now : kLongestChain;
  if (then > longest || reaches(neighbour, id)) return;
  plans_.emplace(id, Plan{neighbour, std::max(now, then)});
  bases_.insert(neighbour);
}

int Recoder::depth(const ChunkId& id, int left) const {
  if (const auto plan = plans_.find(id); plan != plans_.end()) return plan->second.depth;
  const auto places = store_.places_of(id);
  if (places.empty() || left == 0) return kTooDeep;
  int deepest = 0;
  for (const ChunkPlace& place : places) {
    if (!is_difference(place)) continue;
    const auto base = base_of(place);
    deepest = std::max(deepest, base ? 1 + depth(*base, left - 1) : kTooDeep);
  }
  return deepest;
}

bool Recoder::reaches(const ChunkId& from, const ChunkId& wanted, int left) const {
  if (from == wanted || left == 0) return true;
  if (const auto plan = plans_.find(from);
      plan != plans_.end() && reaches(plan->second.base, wanted, left - 1))
    return true;
  for (const ChunkPlace& place : store_.places_of(from)) {
    const auto base = base_of(place);
    if (base && reaches(*base, wanted, left - 1)) return true;
  }
  return false;
}

bool Recoder::wants(const ChunkPlace& place) const {
  const auto plan = plans_.find(place.id);
  return plan != plans_.end() && base_of(place) != plan->second.base;
}

std::optional<Buffer> Recoder::encode(const ChunkPlace& place, bool even_larger) {
  const ChunkId& base_id = plans_.at(place.id).base;
  Buffer chunk, base;
  try {
    chunk = content(place.id, place.raw_bytes);
    base = content(base_id, place.raw_bytes);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kCorrupt && error.kind() != ErrorKind::kLost) throw;
    return std::nullopt;  // damaged: it stays as it is, for fsck
  }
  Buffer planes, found;
  encode_planes(choose_difference(chunk, base).layout, chunk, base, planes);
  ByteWriter writer(std::move(found));
  put_id(writer, base_id);
  writer.put_bytes(planes);
  found = std::move(writer).take();
  const double share = even_larger ? kLeastShare : 1 - kLeastGain;
  const double least = even_larger ? place.raw_bytes : place.stored_bytes;
  if (static_cast<double>(found.size()) > share * least) return std::nullopt;
  // The copy that this replaces goes for good.
  Buffer again(chunk.size());
  decode_planes(delta_body(found), base, again);
  if (again != chunk)
    throw Error(ErrorKind::kInvalid, "a chunk that was encoded anew decodes to other content");
  return found;
}

Buffer Recoder::content(const ChunkId& id, std::uint32_t raw_bytes) {
  Buffer found(raw_bytes);
  store_.read_proved(id, raw_bytes, 0, found);
  return found;
}

}  // namespace flor
