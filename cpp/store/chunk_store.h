// A content-addressed store: bytes go in once, under the name of their content, and come out
// checked.
//
//   ChunkStore store("/runs/.flor", {});
//   ContentRef ref = store.put(bytes);         // written before it returns: survives kill -9
//   Buffer back = store.get(ref);
//   store.sync();                              // survives power loss
//
// Several processes may write one store at once: each writes its own packs and sees the others'
// after `refresh`, which a reader does by itself for an unknown name.
//
// Thread-safety: all methods are safe for concurrent use. Invariants:
//   1. A place is in the index only after the write() of its bytes has returned.
//   2. Two different contents never get one name from this store: a name that is known is trusted
//   only after
//      the bytes were compared (docs/decisions/0002-chunk-identity.md).
//   3. After sync(e) returned, every chunk named by a put since `begin_batch` returned e is on the
//   device,
//      whichever process wrote it.
//   4. What a put named stays in the store while this object is open: it relies only on packs that
//   it claimed.
//   5. Lock order: lane, sync_mutex_, refresh_mutex_, claims_mutex_, mutex_, PackFile's. No system
//   call that writes is made
//      under mutex_, so a put from the training thread never waits for a disk that another thread
//      waits for.
//
// A forked child may not use it: every call throws kClosed there, and destruction does nothing.
// Errors: flor::Error. Reading throws kLost for an unknown name, kCorrupt for damaged bytes;
// writing to a folder that can't be written throws kReadOnly.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/file.h"
#include "base/lock_file.h"
#include "format/chunk_id.h"
#include "store/chunk_index.h"
#include "store/pack_file.h"

namespace flor {

class StoreLane;
class PackWriter;

using ContentHash = Hash128 (*)(Bytes bytes, std::uint8_t salt);
Hash128 content_hash(Bytes bytes, std::uint8_t salt) noexcept;

struct ChunkStoreOptions {
  bool readonly = false;
  FileSystem* files = &real_files();
  ContentHash hash = &content_hash;         // tests give a weak one, to make names collide
  std::uint64_t pack_bytes = 256ULL << 20;  // a pack at least this long is sealed and another begun
  bool use_index = true;                    // false: read the packs themselves, write no index
  std::uint64_t index_chunks = 4096;        // close() writes an index when so many are in none
};

struct StoreStats {
  std::uint64_t chunks = 0, packs = 0, raw_bytes = 0, stored_bytes = 0;  // of the store
  std::uint64_t put_bytes = 0, dedup_bytes = 0, dedup_hits = 0,
                compared_bytes = 0;  // by this object
};

// Bytes of a mapped pack or of a decoded chunk, and what keeps them alive.
struct HeldBytes {
  Bytes bytes;
  std::shared_ptr<const void> holder;
};

// Something that can't be read, found by a scan or by verify().
struct StoreProblem {
  std::string path;
  std::uint64_t offset = 0;
  std::string id;  // empty when it concerns no single chunk
  std::string problem;
  bool covered = false;  // another copy of the chunk is whole
};

// How much of the stored bytes was looked at, of how much.
using Progress = std::function<void(std::uint64_t done, std::uint64_t total)>;

class ChunkStore {
 public:
  // `root` must be a folder. Maps the index file, when it is whole and of the packs that are there,
  // and reads the names of all other chunks; writes nothing. Throws kNotAStore, kNewerFormat.
  ChunkStore(std::string root, ChunkStoreOptions options);
  // close(), with errors swallowed.
  ~ChunkStore();
  ChunkStore(const ChunkStore&) = delete;
  ChunkStore& operator=(const ChunkStore&) = delete;

  // Stores `bytes` and returns their name. The write has completed when it returns.
  ContentRef put(Bytes bytes);
  // The same for several contents that are alike: their new chunks are one extent of a pack. Fills
  // `refs`, as many, and returns how many bytes were added to packs.
  std::uint64_t put(std::span<const Bytes> contents, std::span<ContentRef> refs);

  Buffer get(const ContentRef& ref);
  // Fills `out` from `offset` on. Throws kInvalid when the range does not lie inside.
  void read(const ContentRef& ref, std::uint64_t offset, MutableBytes out);
  // The same without a copy, when all chunks of the range are stored raw, one behind the other: the
  // bytes lie in a mapping. Checked against their checksums. nullopt otherwise.
  std::optional<HeldBytes> view(const ContentRef& ref, std::uint64_t offset, std::uint64_t nbytes);
  // Whether view() would give the whole content; looks at names and places only.
  bool is_contiguous(const ContentRef& ref);
  // Whether every chunk is known. Does not read them.
  bool contains(const ContentRef& ref);

  // The chunk that `id` can't be read without, when all its copies are stored as differences;
  // whoever removes chunks keeps it, or stores `id` anew. Throws kLost for an unknown name.
  std::optional<ChunkId> base_of(const ChunkId& id);

  // Looks for what other processes have stored since.
  void refresh();
  // refresh(), and the epoch to give to sync().
  std::uint64_t begin_batch();
  // Throws when a sync failed since that epoch, here or for another caller.
  void sync(std::uint64_t epoch);
  // For put(): everything stored so far. A failed sync of another caller is told here too, once.
  void sync();
  // Makes all durable, seals the packs, ends all use. Throws what failed. Idempotent. Writes a new
  // index file when an eighth of the chunks is in none.
  void close();

  // After packs were removed: writes the index file anew, where the store has one or needs one.
  // Throws what failed.
  void renew_index();
  // What is wrong with the index file; nothing when there is none, or one of packs that have
  // changed since: it is left aside then.
  std::optional<std::string> index_problem();

  // Re-reads everything: checksums, decoding, names. Empty when all is well.
  std::vector<StoreProblem> verify(const Progress& progress = {});
  // The same for the chunks of `ref`.
  std::vector<StoreProblem> verify(const ContentRef& ref);

  StoreStats stats();
  // A copy of all that is known: where each chunk lies, and the packs by their numbers.
  std::vector<ChunkPlace> places();
  std::vector<std::string> pack_paths();
  const std::string& root() const noexcept { return root_; }
  FileSystem& files() const noexcept { return *options_.files; }

 private:
  friend class StoreLane;
  friend class Sweeper;
  friend class Recoder;

  std::vector<ChunkPlace> places_of(const ChunkId& id);
  std::vector<ChunkPlace> places_or_refresh(const ChunkId& id);
  // The stored bytes at `place`; throws kCorrupt when they are cut off.
  HeldBytes mapped_bytes(const ChunkPlace& place);
  // The same, and throws kCorrupt when they fail their checksum.
  HeldBytes stored_bytes(const ChunkPlace& place);
  // Calls `use` with each copy of a chunk until it returns without throwing; throws the first
  // failure. A copy whose pack a sweep has removed meanwhile is looked for anew.
  void with_place(const ChunkId& id, const std::function<void(const ChunkPlace&)>& use);
  // What shows that decoded bytes are the content: their name alone, or besides the checksums of
  // all stored bytes on the way, which say what is damaged but cost a pass over cold memory.
  enum class Proof { kName, kChecksums };
  // Bytes of a chunk, from whichever copy is whole: by the name, and by checksums where that fails.
  void read_proved(const ChunkId& id, std::uint32_t raw_bytes, std::uint32_t from,
                   MutableBytes out);
  // `depth`: how many chunks are stored as a difference to this one on the way that led here.
  void read_chunk(const ChunkId& id, std::uint32_t raw_bytes, std::uint32_t from, MutableBytes out,
                  int depth = 0, Proof proof = Proof::kChecksums);
  // One copy, decoded whole and, at depth 0, proved by its name.
  void read_place(const ChunkPlace& place, MutableBytes out, int depth,
                  Proof proof = Proof::kChecksums);
  void decode_place(const ChunkPlace& place, Bytes stored, MutableBytes out, int depth,
                    Proof proof = Proof::kChecksums);
  std::optional<std::vector<ChunkPlace>> contiguous_places(const ContentRef& ref,
                                                           std::uint64_t first, std::uint64_t last);

  // Makes sure that nobody removes this pack while the store is open. False: it is gone, or just
  // now being removed; what it holds must be stored anew.
  bool claim(PackFile& pack);
  void check_usable() const;
  void check_writable() const;
  void load_index();
  // Of all sealed packs that are whole, in one atomic step.
  void write_index();
  void index_at_close() noexcept;
  std::shared_ptr<PackFile> pack(std::uint32_t number);
  std::uint32_t add_pack(std::shared_ptr<PackFile> pack);
  void scan_into_index(std::uint32_t number, bool opening);
  void refresh_packs(bool opening);
  void sync_pack(std::uint32_t number, PackFile& pack);
  void seal_retired();
  void verify_place(const ChunkPlace& place, std::vector<StoreProblem>& problems);

  // What lanes tell the store.
  void enroll(StoreLane* lane);
  void leave(StoreLane* lane) noexcept;
  // Throws when a sync of this pack has failed meanwhile.
  void publish(std::uint32_t pack, const std::vector<pack::ChunkEntry>& entries);
  void retire(std::unique_ptr<PackWriter> writer);
  void supersede(const ChunkPlace& damaged);

  const std::string root_, packs_folder_;
  const ChunkStoreOptions options_;
  const pid_t process_;
  std::atomic<bool> closed_{false};
  std::atomic<std::uint64_t> epoch_{0};       // counts failed syncs
  std::atomic<std::uint64_t> told_epoch_{0};  // of those, told by sync()
  std::atomic<std::uint64_t> put_bytes_{0}, dedup_bytes_{0}, dedup_hits_{0}, compared_bytes_{0};

  std::mutex
      sync_mutex_;  // one sync at a time: an error is told once by the system, so once to all
  std::mutex refresh_mutex_;  // one scan at a time
  std::mutex claims_mutex_;   // guards locks_
  std::unique_ptr<LockFile> locks_;
  std::shared_mutex mutex_;  // guards index_, packs_, by_name_, problems_
  ChunkIndex index_;
  std::vector<std::shared_ptr<PackFile>> packs_;
  std::unordered_map<std::string, std::uint32_t> by_name_;
  std::vector<StoreProblem> problems_;

  std::mutex lanes_mutex_;  // guards lanes_, retired_
  std::vector<StoreLane*> lanes_;
  std::vector<std::unique_ptr<PackWriter>> retired_;  // full, to be sealed by the next sync
  std::unique_ptr<StoreLane> foreground_;             // for put()
};

}  // namespace flor
