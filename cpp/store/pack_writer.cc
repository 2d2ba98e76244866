#include "store/pack_writer.h"

#include <unistd.h>

#include <random>

#include "base/clock.h"
#include "base/error.h"

namespace flor {
std::uint64_t PackWriter::random_id() {
  std::random_device source;
  return std::uint64_t{source()} << 32 | source();
}

PackWriter::PackWriter(FileSystem& files, const std::string& folder, std::uint64_t id)
    : files_(files), id_(id), path_(join_path(folder, pack::file_name(id))), process_(::getpid()) {
  files.make_dirs(folder);
  file_ = files.create(path_);
  file_->append(pack::encode_header(id_, unix_ns()));
}

PackWriter::~PackWriter() {
  if (!written_.empty() || ::getpid() != process_) return;
  try {
    files_.remove(path_);
  } catch (const Error&) {
    // An empty pack is harmless.
  }
}

const std::vector<pack::ChunkEntry>& PackWriter::append(ExtentBuilder& extent) {
  const auto& entries = extent.write(*file_, id_);
  written_.insert(written_.end(), entries.begin(), entries.end());
  return entries;
}

void PackWriter::seal() {
  if (written_.empty()) return;
  // First the chunks, then the footer: a sealed pack says that its chunks are durable.
  file_->sync();
  file_->append(pack::encode_seal(id_, file_->size(), written_));
  file_->sync();
}

}  // namespace flor
