#include "log/segment_writer.h"

#include <utility>

#include "base/error.h"
#include "codec/codec.h"
#include "format/log_names.h"

namespace flor {

SegmentWriter::SegmentWriter(FileSystem& files, std::string directory, std::string writer,
                             std::uint64_t segment_bytes)
    : files_(files),
      directory_(std::move(directory)),
      writer_(std::move(writer)),
      segment_bytes_(segment_bytes) {}

void SegmentWriter::append(BlockBuilder& block, std::uint32_t ring_id) {
  if (!file_ || file_->size() >= segment_bytes_) {
    finish_segment();
    open_next();
  }
  BlockHeader header;
  header.ring_id = ring_id;
  const Bytes raw = block.finish(header);
  encode_to(Codec::kLz4, raw, encoded_);
  const bool smaller = encoded_.size() < raw.size();
  const Bytes stored = smaller ? Bytes(encoded_) : raw;
  header.codec = static_cast<std::uint32_t>(smaller ? Codec::kLz4 : Codec::kNone);
  header.stored_bytes = static_cast<std::uint32_t>(stored.size());
  header.payload_checksum = checksum64(stored);
  block_.resize(kBlockHeaderBytes);
  write_block_header(block_.data(), header, file_->size());
  block_.insert(block_.end(), stored.begin(), stored.end());
  write(block_);
}

void SegmentWriter::write(Bytes bytes) {
  try {
    file_->append(bytes);
  } catch (const Error&) {
    try {
      file_->truncate(file_->size());
    } catch (const Error&) {
      file_.reset();  // its torn tail stays at the end of a file that grows no more
    }
    throw;
  }
  unsynced_ = true;
  bytes_written_.fetch_add(bytes.size(), std::memory_order_relaxed);
}

void SegmentWriter::finish_segment() {
  if (!file_) return;
  // Given up before the sync: a segment that can't be synced must not keep the next one from being
  // made.
  const auto file = std::move(file_);
  if (std::exchange(unsynced_, false)) file->sync();
}

void SegmentWriter::open_next() {
  const std::string path = join_path(directory_, segment_name(writer_, next_number_));
  file_ = files_.create(path);
  ++next_number_;
  unsynced_name_ = true;
  try {
    write(encode_segment_header({next_number_ - 1, writer_}));
  } catch (const Error&) {
    // A full disk is retried for hours: no trail of empty files.
    file_.reset();
    files_.remove(path);
    --next_number_;
    throw;
  }
  segments_.fetch_add(1, std::memory_order_relaxed);
}

void SegmentWriter::sync() {
  if (unsynced_ && file_) file_->sync();
  unsynced_ = false;
  if (unsynced_name_) files_.sync_dir(directory_);
  unsynced_name_ = false;
}

}  // namespace flor
