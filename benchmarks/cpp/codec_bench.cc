// Hashes and codecs, by chunks of 64 KiB as the store uses them.
#include <benchmark/benchmark.h>

#include "base/hash.h"
#include "codec/chain.h"
#include "codec/codec.h"
#include "codec/delta.h"
#include "codec/planes.h"
#include "format/chunk_id.h"
#include "samples.h"

namespace flor {
namespace {

constexpr std::size_t kFloats = kChunkBytes / sizeof(float);

void per_chunk(benchmark::State& state) {
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(kChunkBytes));
}

void hash_of_content(benchmark::State& state) {
  const Buffer chunk = bench::weights(kFloats);
  for (auto _ : state) benchmark::DoNotOptimize(hash128(chunk));
  per_chunk(state);
}
BENCHMARK(hash_of_content);

void checksum_of_chunk(benchmark::State& state) {
  const Buffer chunk = bench::weights(kFloats);
  for (auto _ : state) benchmark::DoNotOptimize(checksum64(chunk));
  per_chunk(state);
}
BENCHMARK(checksum_of_chunk);

struct Encoded {
  Buffer chunk = bench::weights(kFloats, 1e-4), base = bench::weights(kFloats), bytes;
  Chain chain;
  Codec codec = Codec::kNone;

  void encode(bool with_base) {
    codec =
        chain.encode(chunk, [&] { return with_base ? DeltaBase{{}, base} : DeltaBase{}; }, bytes);
  }
};

// Argument: whether there is a base. The look at a sample, once in many chunks, is inside.
void chunk_encode(benchmark::State& state) {
  Encoded it;
  for (auto _ : state) it.encode(state.range(0) != 0);
  state.counters["ratio"] = static_cast<double>(kChunkBytes) / static_cast<double>(it.bytes.size());
  per_chunk(state);
}
BENCHMARK(chunk_encode)->Arg(0)->Arg(1);

void chunk_decode(benchmark::State& state) {
  Encoded it;
  it.encode(state.range(0) != 0);
  Buffer out(kChunkBytes);
  for (auto _ : state) {
    if (it.codec == Codec::kDelta)
      decode_planes(delta_body(it.bytes), it.base, out);
    else
      decode(it.codec, it.bytes, out);
    benchmark::DoNotOptimize(out.data());
  }
  if (out != it.chunk) state.SkipWithError("it decodes to other bytes");
  per_chunk(state);
}
BENCHMARK(chunk_decode)->Arg(0)->Arg(1);

}  // namespace
}  // namespace flor
