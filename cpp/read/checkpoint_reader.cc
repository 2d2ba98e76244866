#include "read/checkpoint_reader.h"

#include <algorithm>

#include "base/error.h"
#include "codec/codec.h"
#include "read/side_by_side.h"

namespace flor {
namespace {

// What no lz4 block exceeds: a made-up length must not take the memory.
constexpr std::uint64_t kMaxExpansion = 256;
// A thread costs as much as decoding some tens of kilobytes.
constexpr std::uint64_t kLeastBytesPerThread = 1 << 20;
constexpr std::uint64_t kMostThreads = 8;
// What a thread takes at a time, of one region: enough to forget the taking, little enough that all
// end together.
constexpr std::uint64_t kPieceBytes = 8 * kChunkBytes;
static_assert(kPieceBytes % kChunkBytes == 0);

// Cut where chunks end, so that no chunk is decoded twice.
void cut(std::size_t region, std::uint64_t offset, MutableBytes out,
         std::vector<CheckpointReader::Wanted>& pieces) {
  while (!out.empty()) {
    const std::uint64_t room = kPieceBytes - offset % kPieceBytes;
    const std::size_t count = std::min<std::uint64_t>(room, out.size());
    pieces.push_back({region, offset, out.first(count)});
    offset += count;
    out = out.subspan(count);
  }
}

Buffer decode_meta(const Manifest& manifest, const std::string& path) {
  if (manifest.meta_raw_bytes > (manifest.meta.size() + 1) * kMaxExpansion)
    throw Error(ErrorKind::kCorrupt, "the manifest's meta has an impossible length", path, 16);
  Buffer meta(manifest.meta_raw_bytes);
  try {
    decode(static_cast<Codec>(manifest.meta_codec), manifest.meta, meta);
  } catch (const Error& error) {
    throw Error(error.kind(), "the manifest's meta: " + error.message(), path, kManifestHeaderBytes,
                error.expected(), error.found());
  }
  return meta;
}

}  // namespace

CheckpointReader::CheckpointReader(std::shared_ptr<ChunkStore> store, std::string manifest_path)
    : store_(std::move(store)), path_(std::move(manifest_path)) {
  manifest_ = decode_manifest(store_->files().map(path_)->bytes(), path_);
  meta_ = decode_meta(manifest_, path_);
  manifest_.meta = {};
}

const ContentRef& CheckpointReader::region(std::size_t index) const {
  if (index < manifest_.regions.size()) return manifest_.regions[index];
  throw Error(ErrorKind::kInvalid,
              "the checkpoint has " + std::to_string(manifest_.regions.size()) +
                  " regions; there is no region " + std::to_string(index),
              path_);
}

HeldBytes CheckpointReader::read(std::size_t index, std::uint64_t offset,
                                 std::uint64_t nbytes) const {
  const ContentRef& ref = region(index);
  try {
    if (auto view = store_->view(ref, offset, nbytes)) return *view;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kLost && error.kind() != ErrorKind::kNotFound &&
        error.kind() != ErrorKind::kCorrupt)
      throw;
  }
  // Not value-initialized: a first touch costs more than the copy.
  const std::shared_ptr<std::byte[]> owned(new std::byte[nbytes]);
  read_into(index, offset, {owned.get(), nbytes});
  return {{owned.get(), nbytes}, owned};
}

void CheckpointReader::read_into(std::size_t index, std::uint64_t offset, MutableBytes out) const {
  const Wanted wanted{index, offset, out};
  read_into({&wanted, 1});
}

void CheckpointReader::read_into(std::span<const Wanted> wanted) const {
  std::vector<Wanted> pieces;
  std::uint64_t total = 0;
  for (const Wanted& one : wanted) {
    const ContentRef& ref = region(one.region);
    if (one.offset > ref.nbytes || one.out.size() > ref.nbytes - one.offset)
      return store_->read(ref, one.offset, one.out);  // says what is wrong
    cut(one.region, one.offset, one.out, pieces);
    total += one.out.size();
  }
  const std::uint64_t threads = std::min(kMostThreads, total / kLeastBytesPerThread);
  side_by_side(pieces.size(), threads, [&](std::size_t i) { read_piece(pieces[i]); });
}

void CheckpointReader::read_piece(const Wanted& piece) const try {
  store_->read(manifest_.regions[piece.region], piece.offset, piece.out);
} catch (const Error& error) {
  if (error.kind() != ErrorKind::kLost && error.kind() != ErrorKind::kNotFound) throw;
  throw Error(ErrorKind::kCorrupt,
              "the checkpoint's region " + std::to_string(piece.region) +
                  " can't be read: " + error.message(),
              path_);
}

std::vector<StoreProblem> CheckpointReader::verify() const {
  std::vector<StoreProblem> problems;
  for (const ContentRef& ref : manifest_.regions)
    for (StoreProblem& problem : store_->verify(ref)) problems.push_back(std::move(problem));
  return problems;
}

}  // namespace flor
