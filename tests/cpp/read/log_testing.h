// Helpers of the log tests: a disk that can be full, and a log as lines of text.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "log/log_writer.h"
#include "log/temporary_folder.h"
#include "read/log_reader.h"

namespace flor::testing {

// The system's files, but while `full` an append writes half its bytes and throws ENOSPC, and while
// `stuck` the torn tail can't be cut off either. `sync_fails` makes syncs throw EIO.
class FullableFiles : public FileSystem {
 public:
  std::atomic<bool> full{false}, stuck{false}, sync_fails{false};
  std::atomic<int> syncs{0};

  std::unique_ptr<AppendFile> create(const std::string& path) override {
    return std::make_unique<File>(*this, real_files().create(path));
  }
  std::shared_ptr<MappedFile> map(const std::string& path) override {
    return real_files().map(path);
  }
  void make_dirs(const std::string& path) override { real_files().make_dirs(path); }
  bool exists(const std::string& path) override { return real_files().exists(path); }
  std::vector<std::string> list(const std::string& folder) override {
    return real_files().list(folder);
  }
  void rename(const std::string& from, const std::string& to) override {
    real_files().rename(from, to);
  }
  void remove(const std::string& path) override { real_files().remove(path); }
  void sync_file(const std::string& path) override { real_files().sync_file(path); }
  void sync_dir(const std::string& folder) override { real_files().sync_dir(folder); }
  std::unique_ptr<LockFile> open_locks(const std::string& path) override {
    return real_files().open_locks(path);
  }

 private:
  class File final : public AppendFile {
   public:
    File(FullableFiles& owner, std::unique_ptr<AppendFile> file)
        : owner_(owner), file_(std::move(file)) {}
    void append(Bytes bytes) override {
      if (owner_.full) {
        std::FILE* torn = std::fopen(path().c_str(), "ab");
        std::fwrite(bytes.data(), 1, bytes.size() / 2, torn);
        std::fclose(torn);
        throw system_error("can't write", path(), ENOSPC);
      }
      file_->append(bytes);
    }
    void sync() override {
      ++owner_.syncs;
      if (owner_.sync_fails) throw system_error("can't sync", path(), EIO);
      file_->sync();
    }
    void truncate(std::uint64_t size_bytes) override {
      if (owner_.stuck) throw system_error("can't truncate", path(), EIO);
      file_->truncate(size_bytes);
    }
    std::uint64_t size() const noexcept override { return file_->size(); }
    const std::string& path() const noexcept override { return file_->path(); }

   private:
    FullableFiles& owner_;
    std::unique_ptr<AppendFile> file_;
  };
};

inline std::string text_at(const TextColumn& column, std::size_t i) {
  const auto begin = static_cast<std::size_t>(column.offsets[i]);
  const auto end = static_cast<std::size_t>(column.offsets[i + 1]);
  return std::string(as_text(Bytes(column.bytes).subspan(begin, end - begin)));
}

// Row i as "writer/ring/seq loop[index]... name=value".
inline std::string line(const LogTable& t, std::size_t i) {
  std::string out = text_at(t.writers, static_cast<std::size_t>(t.writer[i])) + "/" +
                    std::to_string(t.ring[i]) + "/" + std::to_string(t.seq[i]) + " ";
  for (auto e = static_cast<std::size_t>(t.context_offsets[i]);
       e < static_cast<std::size_t>(t.context_offsets[i + 1]); ++e)
    out += text_at(t.loop, e) + "[" + std::to_string(t.index[e]) + "]" + text_at(t.value, e) + " ";
  out += text_at(t.names, static_cast<std::size_t>(t.name[i])) + "=";
  const auto kind = static_cast<ValueKind>(t.kind[i]);
  if (kind == ValueKind::kInt64 || kind == ValueKind::kBool)
    return out + std::to_string(t.integer[i]);
  if (kind == ValueKind::kFloat64) return out + std::to_string(t.num[i]);
  return out + text_at(t.data, i);
}

inline std::vector<std::string> lines(const LogTable& table) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < table.rows; ++i) out.push_back(line(table, i));
  return out;
}

inline constexpr std::uint8_t kInt = static_cast<std::uint8_t>(ValueKind::kInt64);
inline constexpr std::uint8_t kText = static_cast<std::uint8_t>(ValueKind::kString);

// Logs an int the way a thread does: waits for space. False when it was given up (counted as lost).
inline bool log_int(Producer& producer, std::string_view name, std::int64_t value) {
  std::uint32_t id = 0;
  auto outcome = Producer::Outcome::kFull;
  while (true) {
    outcome = producer.name_id(name, id);
    if (outcome == Producer::Outcome::kLogged)
      outcome = producer.try_log(kInt, id, 0, std::as_bytes(std::span(&value, 1)));
    if (outcome == Producer::Outcome::kLogged) return true;
    if (!producer.wait_for_space(64, std::chrono::milliseconds(50))) {
      producer.drop();
      return false;
    }
  }
}

inline LogOptions options(FileSystem* files = nullptr, std::uint64_t ring_bytes = 65536) {
  LogOptions out;
  out.ring_bytes = ring_bytes;
  out.files = files;
  return out;
}

}  // namespace flor::testing
