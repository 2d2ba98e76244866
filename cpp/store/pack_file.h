// One pack as a reader sees it: a mapping that is renewed when the file has grown, how far it was
// scanned, and how far its bytes are known to be durable.
//
// Thread-safety: `covering` and the atomics are safe for concurrent use; `scan_more` belongs to
// whoever holds ChunkStore's refresh lock.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "base/file.h"
#include "format/pack_scan.h"

namespace flor {

class PackFile {
 public:
  PackFile(FileSystem& files, std::string path, std::uint64_t id, bool own)
      : path_(std::move(path)), files_(files), id_(id), own_(own) {}

  // Chunks that were not there at the last call. Packs of this process are never scanned: what they
  // hold is known from writing it. Throws kNewerFormat.
  pack::Scan scan_more();

  // For a pack that an index file describes: false, and nothing changed, when the file is not that
  // sealed pack of `file_bytes` bytes.
  bool adopt_sealed(std::uint64_t file_bytes);

  // A mapping of at least `end` bytes. Throws kCorrupt when the file is shorter, kNotFound when it
  // is gone.
  std::shared_ptr<MappedFile> covering(std::uint64_t end);

  const std::string& path() const noexcept { return path_; }
  std::uint64_t id() const noexcept { return id_; }
  bool own() const noexcept { return own_; }
  bool finished() const noexcept { return sealed_; }

  // Durability. Some checkpoint relies on the bytes before `needed_end`; those before `synced_end`
  // are on the device.
  void need(std::uint64_t end) noexcept;
  std::atomic<std::uint64_t> needed_end{0}, synced_end{0};
  std::atomic<bool> name_synced{false};
  // This process has said that it relies on the pack: nobody removes it (store/pack_lock.h).
  std::atomic<bool> claimed{false};
  // A sync failed: nothing more may be written to it.
  std::atomic<bool> failed{false};

 private:
  const std::string path_;
  FileSystem& files_;
  const std::uint64_t id_;
  const bool own_;
  bool sealed_ = false, header_checked_ = false;
  std::uint64_t scanned_ = pack::kHeaderBytes;
  std::mutex mutex_;  // guards mapping_
  std::shared_ptr<MappedFile> mapping_;
};

}  // namespace flor
