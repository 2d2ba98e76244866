#include "store/pack_file.h"

#include "base/error.h"

namespace flor {

void PackFile::need(std::uint64_t end) noexcept {
  std::uint64_t known = needed_end.load();
  while (known < end && !needed_end.compare_exchange_weak(known, end)) {
  }
}

std::shared_ptr<MappedFile> PackFile::covering(std::uint64_t end) {
  const std::lock_guard lock(mutex_);
  if (mapping_ == nullptr || mapping_->bytes().size() < end) mapping_ = files_.map(path_);
  if (mapping_->bytes().size() < end)
    throw Error(ErrorKind::kCorrupt, "the pack is shorter than its chunks", path_,
                static_cast<std::int64_t>(mapping_->bytes().size()), std::to_string(end) + " bytes",
                std::to_string(mapping_->bytes().size()));
  return mapping_;
}

bool PackFile::adopt_sealed(std::uint64_t file_bytes) {
  std::shared_ptr<MappedFile> mapping;
  try {
    mapping = files_.map(path_);
  } catch (const Error&) {
    return false;
  }
  const Bytes file = mapping->bytes();
  if (file.size() != file_bytes || !pack::decode_footer(file, id_)) return false;
  sealed_ = header_checked_ = true;
  scanned_ = synced_end = file_bytes;
  const std::lock_guard lock(mutex_);
  mapping_ = std::move(mapping);
  return true;
}

pack::Scan PackFile::scan_more() {
  if (own_ || sealed_) return {};
  const auto mapping = files_.map(path_);
  const Bytes file = mapping->bytes();
  // Its writer may be just about to write the header: look again next time.
  if (file.size() < pack::kHeaderBytes) return {};
  pack::Scan scan;
  std::string header_problem;
  if (!header_checked_) try {
      pack::check_header(file, id_, path_);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kNewerFormat) throw;
      header_problem = error.message();
    }
  header_checked_ = true;
  scan = pack::scan_pack(file, id_, scanned_);
  if (!header_problem.empty()) scan.damages.push_back({0, header_problem});
  scanned_ = scan.end;
  sealed_ = scan.sealed;
  if (sealed_) synced_end = file.size();
  const std::lock_guard lock(mutex_);
  mapping_ = mapping;
  return scan;
}

}  // namespace flor
