#include "snapshot/snapshotter.h"

#include <unistd.h>

#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "codec/codec.h"
#include "snapshot/worker_pool.h"
#include "store/store_lane.h"

namespace flor {

struct Snapshotter::Shared {
  std::mutex take_mutex;  // one capture at a time; guards capture, closed
  std::shared_ptr<StagingArena> arena;
  std::unique_ptr<LiveCapture> capture;
  bool closed = false;
  UnchangedMemory unchanged;

  mutable std::mutex mutex;  // guards the six below
  std::condition_variable drained;
  std::shared_ptr<const std::vector<ContentRef>> key;  // regions of the last key checkpoint
  std::size_t since_key = 0;                           // checkpoints taken as differences to it
  std::uint64_t taken = 0, in_flight = 0;
  std::atomic<std::uint64_t> unchanged_bytes{0};
  std::optional<std::string> error;

  std::vector<std::unique_ptr<StoreLane>> lanes;  // one a worker
  std::unique_ptr<WorkerPool> workers;            // last: its threads use all of the above
};

// Hands parts to the workers.
class Snapshotter::Sink final : public CaptureSink {
 public:
  Sink(Snapshotter& owner, std::shared_ptr<Pending> pending)
      : owner_(owner), pending_(std::move(pending)) {}
  void accept(std::unique_ptr<StagedPart> part) override {
    owner_.submit(pending_, std::move(part));
  }
  Refuse refusal() override {
    return [pending = pending_](std::exception_ptr why) { pending->fail(std::move(why)); };
  }

 private:
  Snapshotter& owner_;
  std::shared_ptr<Pending> pending_;
};

Snapshotter::Snapshotter(std::shared_ptr<ChunkStore> store, SnapshotterOptions options)
    : store_(std::move(store)),
      options_(options),
      process_(::getpid()),
      shared_(std::make_unique<Shared>()) {
  if (options.threads == 0 || options.threads > 64)
    throw Error(ErrorKind::kInvalid, "threads must be 1 to 64");
  if (options.key_interval == 0) throw Error(ErrorKind::kInvalid, "key_interval must be 1 or more");
  shared_->arena = StagingArena::make(options.staging_bytes);
  shared_->capture = std::make_unique<LiveCapture>(shared_->arena, options.threads);
  for (std::size_t i = 0; i < options.threads; ++i)
    shared_->lanes.push_back(std::make_unique<StoreLane>(*store_));
  shared_->workers = std::make_unique<WorkerPool>(options.threads);
}

Snapshotter::~Snapshotter() {
  if (::getpid() != process_) {
    (void)shared_.release();
    return;
  }
  close();
}

std::shared_ptr<Pending> Snapshotter::take(std::span<const Region> regions,
                                           const std::string& manifest_path, Bytes meta) {
  if (::getpid() != process_)
    throw Error(ErrorKind::kClosed,
                "a snapshotter can't be used in a forked child; make one there");
  const std::int64_t begin = monotonic_ns();
  const std::lock_guard lock(shared_->take_mutex);
  if (shared_->closed) throw Error(ErrorKind::kClosed, "the snapshotter is closed");
  shared_->workers->start();
  auto pending = std::make_shared<Pending>(manifest_path);
  Manifest& manifest = pending->manifest_;
  manifest.totals.time_unix_ns = unix_ns();
  manifest.meta.assign(meta.begin(), meta.end());
  for (const Region& region : regions) {
    manifest.totals.raw_bytes += region.bytes.size();
    manifest.regions.push_back(
        {region.bytes.size(), std::vector<ChunkId>(chunk_count(region.bytes.size()))});
  }
  {
    const std::lock_guard counting(shared_->mutex);
    ++shared_->taken;
    ++shared_->in_flight;
    if (shared_->key != nullptr && ++shared_->since_key < options_.key_interval)
      pending->bases_ = shared_->key;
  }
  pending->tasks_left_ =
      1;  // the closing task below: no part can be the last before all are handed over
  try {
    pending->cut_ = shared_->unchanged.begin(regions, manifest.regions);
    pending->dedup_bytes_ = pending->cut_.known_bytes;
    shared_->unchanged_bytes += pending->cut_.known_bytes;
    Sink sink(*this, pending);
    shared_->capture->capture(pending->cut_.runs, sink);
  } catch (...) {
    pending->fail(std::current_exception());
    shared_->workers->submit(
        [this, pending](std::size_t worker) { run(*pending, nullptr, worker); });
    throw;
  }
  pending->stall_ns_ = monotonic_ns() - begin;
  shared_->workers->submit([this, pending](std::size_t worker) { run(*pending, nullptr, worker); });
  return pending;
}

void Snapshotter::settle() {
  if (::getpid() == process_) shared_->capture->settle();
}

void Snapshotter::warm_up(std::size_t bytes) {
  if (::getpid() != process_) return;
  const std::lock_guard lock(shared_->take_mutex);
  if (shared_->closed) return;
  shared_->workers->start();
  shared_->workers->submit([arena = shared_->arena, bytes](std::size_t) { arena->touch(bytes); });
}

void Snapshotter::submit(const std::shared_ptr<Pending>& pending,
                         std::unique_ptr<StagedPart> part) {
  ++pending->tasks_left_;
  // A std::function must be copyable, so the part travels in a shared pointer.
  auto shared_part = std::make_shared<std::unique_ptr<StagedPart>>(std::move(part));
  shared_->workers->submit([this, pending, shared_part](std::size_t worker) {
    run(*pending, std::move(*shared_part), worker);
  });
}

void Snapshotter::run(Pending& pending, std::unique_ptr<StagedPart> part, std::size_t worker) {
  const std::int64_t cpu = thread_cpu_ns();
  if (part != nullptr && !pending.failed()) try {
      store_part(pending, *part, worker);
    } catch (...) {
      pending.fail(std::current_exception());
    }
  part.reset();  // before the commit: the next take may be waiting for this memory
  const bool last = --pending.tasks_left_ == 0;
  if (last && !pending.failed()) try {
      commit(pending);
    } catch (...) {
      pending.fail(std::current_exception());
    }
  pending.cpu_ns_ += thread_cpu_ns() - cpu;
  if (last) finish(pending);
}

void Snapshotter::store_part(Pending& pending, StagedPart& part, std::size_t worker) {
  std::call_once(pending.begun_, [&] { pending.epoch_ = store_->begin_batch(); });
  std::vector<PutPiece> pieces;
  for (const StagedPiece& piece : part.pin()) {
    const std::size_t number = pending.cut_.regions[piece.region];
    ContentRef& region = pending.manifest_.regions[number];
    PutPiece put{piece.bytes, region.chunks.data() + piece.first_chunk};
    if (const ContentRef* base = pending.base_of(number))
      put.bases = base->chunks.data() + piece.first_chunk;
    pieces.push_back(put);
  }
  const PutCounts counts = shared_->lanes[worker]->put(pieces);
  pending.stored_bytes_ += counts.stored_bytes;
  pending.new_chunks_ += counts.new_chunks;
  pending.dedup_bytes_ += counts.dedup_bytes;
}

void Snapshotter::commit(Pending& pending) {
  std::call_once(pending.begun_, [&] { pending.epoch_ = store_->begin_batch(); });
  Manifest& manifest = pending.manifest_;
  manifest.totals.stored_bytes = pending.stored_bytes_;
  manifest.totals.new_chunks = pending.new_chunks_;
  manifest.totals.dedup_bytes = pending.dedup_bytes_;
  manifest.meta_raw_bytes = manifest.meta.size();
  if (Buffer packed = encode(Codec::kLz4, manifest.meta); packed.size() < manifest.meta.size()) {
    manifest.meta = std::move(packed);
    manifest.meta_codec = static_cast<std::uint8_t>(Codec::kLz4);
  }
  const Buffer bytes = encode_manifest(manifest);
  store_->sync(pending.epoch_);
  store_->files().make_dirs(parent_path(pending.path_));
  store_->files().write_atomically(pending.path_, bytes);
}

void Snapshotter::finish(Pending& pending) {
  shared_->unchanged.end(pending.cut_, pending.failed() ? nullptr : &pending.manifest_.regions);
  if (pending.bases_ == nullptr && !pending.failed()) {
    auto key =
        std::make_shared<const std::vector<ContentRef>>(std::move(pending.manifest_.regions));
    const std::lock_guard lock(shared_->mutex);
    shared_->key = std::move(key);
    shared_->since_key = 0;
  }
  pending.bases_ = nullptr;
  pending.manifest_.regions = {};  // names are on the disk now; a Pending may be kept for long
  // In this order: whoever sees it done sees its error here, whoever drained sees it done.
  if (const std::optional<std::string> error = pending.error(); error && !pending.refused()) {
    const std::lock_guard lock(shared_->mutex);
    if (!shared_->error) shared_->error = error;
  }
  pending.finish();
  {
    const std::lock_guard lock(shared_->mutex);
    --shared_->in_flight;
  }
  shared_->drained.notify_all();
}

std::optional<std::string> Snapshotter::error() const {
  if (::getpid() != process_) return std::nullopt;
  const std::lock_guard lock(shared_->mutex);
  return shared_->error;
}

SnapshotterStats Snapshotter::stats() const {
  if (::getpid() != process_) return {};
  SnapshotterStats stats;
  const StagingArena::Stats arena = shared_->arena->stats();
  stats.waits = arena.waits;
  stats.wait_ns = arena.wait_ns;
  stats.staged_bytes = arena.used_bytes;
  stats.arena_bytes = arena.mapped_bytes;
  stats.live = shared_->capture->stats();
  stats.unchanged_bytes = shared_->unchanged_bytes;
  const std::lock_guard lock(shared_->mutex);
  stats.taken = shared_->taken;
  stats.in_flight = shared_->in_flight;
  return stats;
}

void Snapshotter::drain() {
  if (::getpid() != process_) return;
  std::unique_lock lock(shared_->mutex);
  shared_->drained.wait(lock, [this] { return shared_->in_flight == 0; });
}

void Snapshotter::close() {
  if (::getpid() != process_) return;
  const std::lock_guard lock(shared_->take_mutex);
  if (std::exchange(shared_->closed, true)) return;
  drain();
  shared_->workers->stop();
  for (const auto& lane : shared_->lanes) try {
      lane->seal();
    } catch (const Error&) {
      // Every checkpoint that is done is durable without it; an unsealed pack is only slower to
      // open.
    }
  shared_->lanes.clear();
}

}  // namespace flor
