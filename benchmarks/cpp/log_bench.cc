// The logging side: a frame, and a record on its way into a ring that the background thread drains.
#include <benchmark/benchmark.h>

#include <memory>

#include "format/record_frame.h"
#include "log/log_writer.h"
#include "log/producer.h"
#include "samples.h"

namespace flor {
namespace {

constexpr auto kFloat = static_cast<std::uint8_t>(ValueKind::kFloat64);

void frame_encode(benchmark::State& state) {
  alignas(8) std::byte memory[64];
  const double value = 0.5;
  FrameFields fields{kFloat, 1, 1, 0, 0};
  for (auto _ : state) {
    ++fields.seq;
    write_frame(memory, fields.seq * 40, fields, bench::bytes_of(value));
    benchmark::DoNotOptimize(memory);
  }
}
BENCHMARK(frame_encode);

// One writer for all threads of a benchmark.
struct Log {
  bench::TemporaryFolder folder;
  LogWriter writer{folder.path() + "/log", "bench"};
};
std::unique_ptr<Log> shared;

// A producer a thread: two should cost each no more than a quarter over one. Back to back: the ring
// fills up, and the waits for the background thread are inside.
void ring_append(benchmark::State& state) {
  Producer* producer = shared->writer.acquire();
  std::uint32_t name = 0;
  producer->name_id("loss", name);
  const double value = 0.5;
  std::size_t waits = 0;
  for (auto _ : state)
    while (producer->try_log(kFloat, name, 0, bench::bytes_of(value)) == Producer::Outcome::kFull) {
      producer->wait_for_space(sizeof value, std::chrono::milliseconds(100));
      ++waits;
    }
  state.counters["waits"] = static_cast<double>(waits);
  state.SetItemsProcessed(state.iterations());
  shared->writer.release(producer);
}
BENCHMARK(ring_append)
    ->Setup([](const benchmark::State&) { shared = std::make_unique<Log>(); })
    ->Teardown([](const benchmark::State&) { shared.reset(); })
    ->Threads(1)
    ->Threads(2)
    ->UseRealTime();

}  // namespace
}  // namespace flor
