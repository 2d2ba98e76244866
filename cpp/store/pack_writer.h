// Writes one pack: creates the file, appends extents, seals it.
//
// A pack only ever grows and is never written by two. After a failed append nothing more may be
// written: the file ends in a torn tail, which readers leave out, and the owner starts another
// pack. It is not truncated, because another process may be reading it through a mapping.
//
// Thread-safety: belongs to one thread at a time. Throws flor::Error.
#pragma once

#include <sys/types.h>

#include <memory>

#include "base/file.h"
#include "format/pack_format.h"
#include "store/extent_builder.h"

namespace flor {

class PackWriter {
 public:
  static std::uint64_t random_id();

  // Creates pack `id` in `folder`, which is made when it is not there.
  PackWriter(FileSystem& files, const std::string& folder, std::uint64_t id);
  // Writes nothing: an unsealed pack is whole. Removes the file when it holds no chunk, but not in
  // a forked child, where it belongs to the parent.
  ~PackWriter();
  PackWriter(const PackWriter&) = delete;
  PackWriter& operator=(const PackWriter&) = delete;

  // Appends the chunks of `extent` and returns them with their offsets; valid until `extent`
  // changes.
  const std::vector<pack::ChunkEntry>& append(ExtentBuilder& extent);

  // Makes the chunks durable, then appends directory and footer. Nothing may be appended after it.
  void seal();

  std::uint64_t id() const noexcept { return id_; }
  const std::string& path() const noexcept { return path_; }
  std::uint64_t size() const noexcept { return file_->size(); }

 private:
  FileSystem& files_;
  const std::uint64_t id_;
  const std::string path_;
  const pid_t process_;
  std::unique_ptr<AppendFile> file_;
  std::vector<pack::ChunkEntry> written_;  // for the directory
};

}  // namespace flor
