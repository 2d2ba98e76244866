// The store: a chunk by its name among a million, and reading back what was put.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "base/file.h"
#include "samples.h"
#include "store/chunk_store.h"

namespace flor {
namespace {

struct Store {
  bench::TemporaryFolder folder;

  Store() { real_files().write_atomically(folder.path() + "/flor.json", as_bytes("{}")); }
  std::unique_ptr<ChunkStore> open() const {
    return std::make_unique<ChunkStore>(folder.path(), ChunkStoreOptions{});
  }
};

// Argument: chunks of the store.
void chunk_look_up(benchmark::State& state) {
  const Store it;
  std::vector<ContentRef> refs;
  {
    const auto store = it.open();
    for (std::int64_t i = 0; i < state.range(0); ++i)
      refs.push_back(store->put(bench::bytes_of(i)));
    store->close();
  }
  std::shuffle(refs.begin(), refs.end(), std::mt19937_64(1));
  const auto store = it.open();
  std::size_t at = 0;
  for (auto _ : state) {
    if (!store->contains(refs[at])) state.SkipWithError("a chunk is not found");
    at = at + 1 < refs.size() ? at + 1 : 0;
  }
}
BENCHMARK(chunk_look_up)->Arg(1000)->Arg(1'000'000);

// A content of 64 MB into warm memory, one thread: places, decoding, proof.
void content_read(benchmark::State& state) {
  const Store it;
  const auto store = it.open();
  const Buffer content = bench::weights(std::size_t{16} << 20);
  const ContentRef ref = store->put(content);
  Buffer out(content.size());
  for (auto _ : state) store->read(ref, 0, out);
  if (out != content) state.SkipWithError("it reads other bytes");
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(content.size()));
}
BENCHMARK(content_read)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace flor
