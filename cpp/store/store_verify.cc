// ChunkStore::verify: reads everything again and recomputes every name.
#include <set>

#include "base/error.h"
#include "codec/codec.h"
#include "store/chunk_store.h"

namespace flor {

void ChunkStore::verify_place(const ChunkPlace& place, std::vector<StoreProblem>& problems) {
  const std::string path = pack(place.pack)->path();
  const auto tell = [&](const std::string& problem) {
    problems.push_back({path, place.offset, to_text(place.id), problem});
  };
  try {
    const HeldBytes stored = stored_bytes(place);
    Buffer raw(place.raw_bytes);
    decode_place(place, stored.bytes, raw, 0);
    const Hash128 found = options_.hash(raw, place.id.salt);
    if (found != place.id.hash) tell("its content has the name " + to_hex(found));
  } catch (const Error& error) {
    tell(error.message());
  }
}

std::vector<StoreProblem> ChunkStore::verify(const Progress& progress) {
  refresh();
  std::vector<StoreProblem> problems;
  {
    const std::shared_lock lock(mutex_);
    problems = problems_;
  }
  const std::vector<ChunkPlace> all = places();
  std::set<ChunkId> damaged;
  std::uint64_t done = 0, total = 0;
  for (const ChunkPlace& place : all) total += place.stored_bytes;
  for (const ChunkPlace& place : all) {
    const std::size_t before = problems.size();
    verify_place(place, problems);
    if (problems.size() != before) damaged.insert(place.id);
    done += place.stored_bytes;
    if (progress) progress(done, total);
  }
  std::set<std::string> whole;
  for (const ChunkId& id : damaged)
    for (const ChunkPlace& place : places_of(id)) {
      std::vector<StoreProblem> found;
      verify_place(place, found);
      if (found.empty()) whole.insert(to_text(id));
    }
  for (StoreProblem& problem : problems) problem.covered = whole.contains(problem.id);
  return problems;
}

std::vector<StoreProblem> ChunkStore::verify(const ContentRef& ref) {
  check_usable();
  std::vector<StoreProblem> problems;
  std::set<ChunkId> seen;
  for (std::size_t i = 0; i < ref.chunks.size(); ++i) {
    const ChunkId& id = ref.chunks[i];
    if (!seen.insert(id).second) continue;
    const std::vector<ChunkPlace> places = places_or_refresh(id);
    if (places.empty()) problems.push_back({packs_folder_, 0, to_text(id), "no pack holds it"});
    std::vector<StoreProblem> found;
    std::size_t whole = 0;
    for (const ChunkPlace& place : places) {
      const std::size_t before = found.size();
      if (place.raw_bytes != chunk_length(ref.nbytes, i))
        found.push_back(
            {pack(place.pack)->path(), place.offset, to_text(id), "it has another length"});
      else
        verify_place(place, found);
      whole += found.size() == before;
    }
    // One whole copy is enough to read the content.
    if (whole == 0) problems.insert(problems.end(), found.begin(), found.end());
  }
  return problems;
}

}  // namespace flor
