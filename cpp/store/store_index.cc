// ChunkStore and the index file, `chunks.index`: found, trusted or left aside, written anew.
#include <algorithm>

#include "base/error.h"
#include "format/index_format.h"
#include "store/chunk_store.h"

namespace flor {
namespace {

const std::string kIndexFile = "chunks.index";

// The index is of exactly the packs that it names: sealed ones, which never change.
std::vector<std::shared_ptr<PackFile>> adopt(FileSystem& files, const std::string& folder,
                                             const std::vector<index::Pack>& packs) {
  std::vector<std::shared_ptr<PackFile>> found;
  for (const index::Pack& pack : packs) {
    auto file = std::make_shared<PackFile>(files, join_path(folder, pack::file_name(pack.id)),
                                           pack.id, false);
    if (!file->adopt_sealed(pack.file_bytes)) return {};
    found.push_back(std::move(file));
  }
  return found;
}

}  // namespace

void ChunkStore::load_index() {
  const std::string path = join_path(root_, kIndexFile);
  try {
    auto file = files().map(path);
    const index::View view(file->bytes(), path);
    const std::vector<index::Pack> named = view.packs();
    const auto packs = adopt(files(), packs_folder_, named);
    if (packs.size() != named.size()) return;
    for (const auto& pack : packs) add_pack(pack);
    index_.attach(std::move(file), view);
  } catch (const Error&) {
    // None, damaged, or of a newer flor: the packs themselves say it all.
  }
}

void ChunkStore::write_index() {
  std::vector<std::vector<ChunkPlace>> by_pack;
  std::vector<std::shared_ptr<PackFile>> files_of;
  {
    const std::shared_lock lock(mutex_);
    files_of = packs_;
    by_pack.resize(packs_.size());
    for (const ChunkPlace& place : index_.places()) by_pack[place.pack].push_back(place);
  }
  std::vector<index::Pack> packs;
  std::vector<index::Place> places;
  for (std::size_t i = 0; i < files_of.size(); ++i) try {
      const auto mapping = files().map(files_of[i]->path());
      const auto footer = pack::decode_footer(mapping->bytes(), files_of[i]->id());
      // Sealed, and known whole: what is damaged in part is looked at anew each time.
      if (!footer || footer->chunks != by_pack[i].size() || files_of[i]->failed) continue;
      for (const ChunkPlace& place : by_pack[i])
        places.push_back({{place.id, place.checksum, place.raw_bytes, place.stored_bytes,
                           place.codec, place.offset},
                          static_cast<std::uint32_t>(packs.size())});
      packs.push_back({files_of[i]->id(), mapping->bytes().size()});
    } catch (const Error&) {
      // Removed by a sweep.
    }
  files().write_atomically(join_path(root_, kIndexFile), index::encode_index(packs, places));
}

void ChunkStore::renew_index() {
  check_writable();
  refresh();
  if (files().exists(join_path(root_, kIndexFile)) || stats().chunks >= options_.index_chunks)
    write_index();
}

std::optional<std::string> ChunkStore::index_problem() {
  const std::string path = join_path(root_, kIndexFile);
  if (!files().exists(path)) return std::nullopt;
  try {
    const auto file = files().map(path);
    const index::View view(file->bytes(), path);
    return std::nullopt;
  } catch (const Error& error) {
    return error.message();
  }
}

void ChunkStore::index_at_close() noexcept try {
  std::uint64_t all = 0, mapped = 0;
  {
    const std::shared_lock lock(mutex_);
    all = index_.size();
    mapped = index_.mapped_size();
  }
  if (all >= mapped + std::max(options_.index_chunks, mapped / 8)) write_index();
} catch (const std::exception&) {
  // A store without an index is only slower to open.
}

}  // namespace flor
