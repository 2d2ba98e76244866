#include "store/extent_builder.h"

#include <array>

#include "codec/codec.h"

namespace flor {
namespace {

// Gathers small pieces into writes of about a megabyte; large pieces pass through uncopied.
class Gather {
 public:
  explicit Gather(AppendFile& file) : file_(file) {}

  void put(Bytes bytes) {
    if (bytes.size() >= kPassThroughBytes) {
      flush();
      file_.append(bytes);
      return;
    }
    held_.insert(held_.end(), bytes.begin(), bytes.end());
    if (held_.size() >= kHeldBytes) flush();
  }
  void pad(std::size_t count) {
    static constexpr std::array<std::byte, pack::kAlignment> kZeros{};
    put(Bytes(kZeros).first(count));
  }
  void flush() {
    if (!held_.empty()) file_.append(held_);
    held_.clear();
  }

 private:
  static constexpr std::size_t kPassThroughBytes = 256 * 1024, kHeldBytes = 1024 * 1024;
  AppendFile& file_;
  Buffer held_;
};

}  // namespace

void ExtentBuilder::add(const ChunkId& id, Bytes source, Bytes stored, std::uint8_t codec,
                        std::uint32_t raw_bytes) {
  pack::ChunkEntry entry;
  entry.id = id;
  entry.checksum = checksum64(stored);
  entry.raw_bytes = raw_bytes;
  entry.stored_bytes = static_cast<std::uint32_t>(stored.size());
  entry.codec = codec;
  by_id_.emplace(id, entries_.size());
  entries_.push_back(entry);
  sources_.push_back(source);
  stored_.push_back(stored);
  raw_bytes_ += raw_bytes;
}

void ExtentBuilder::add_raw(const ChunkId& id, Bytes source) {
  add(id, source, source, 0, static_cast<std::uint32_t>(source.size()));
}

void ExtentBuilder::add_stored(const ChunkId& id, Bytes stored, std::uint8_t codec,
                               std::uint32_t raw_bytes) {
  add(id, {}, stored, codec, raw_bytes);
}

void ExtentBuilder::add_difference(const ChunkId& id, Buffer encoded, std::uint32_t raw_bytes) {
  owned_bytes_ += encoded.size();
  owned_.push_back(std::move(encoded));
  add(id, {}, owned_.back(), static_cast<std::uint8_t>(Codec::kDelta), raw_bytes);
}

void ExtentBuilder::add_encoded(const ChunkId& id, Bytes source, std::uint8_t codec,
                                Buffer encoded) {
  owned_bytes_ += encoded.size();
  owned_.push_back(std::move(encoded));
  add(id, source, owned_.back(), codec, static_cast<std::uint32_t>(source.size()));
}

ExtentBuilder::Found ExtentBuilder::find(const ChunkId& id) const {
  const auto it = by_id_.find(id);
  if (it == by_id_.end()) return {};
  return {true, sources_[it->second]};
}

const std::vector<pack::ChunkEntry>& ExtentBuilder::write(AppendFile& file, std::uint64_t pack_id) {
  Gather out(file);
  out.put(pack::encode_extent(pack_id, file.size(), entries_));
  for (std::size_t i = 0; i < stored_.size();) {
    // Chunks that follow each other in memory and need no padding between them go out as one piece.
    const std::byte* const begin = stored_[i].data();
    std::size_t length = stored_[i].size();
    while (++i < stored_.size() && length % pack::kAlignment == 0 &&
           stored_[i].data() == begin + length)
      length += stored_[i].size();
    out.put({begin, length});
    out.pad(pack::align(length) - length);
  }
  out.flush();
  return entries_;
}

void ExtentBuilder::clear() {
  entries_.clear();
  sources_.clear();
  stored_.clear();
  owned_.clear();
  by_id_.clear();
  raw_bytes_ = owned_bytes_ = 0;
}

}  // namespace flor
