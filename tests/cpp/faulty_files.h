// A FileSystem that fails on purpose and can forget what was not synced (after leveldb's fault
// injection).
//
// It keeps all files in memory. `space_bytes` is the room left before ENOSPC; `fail_at(n)` makes
// the n-th mutating call from now throw; `crash()` drops every byte that was not synced, as a power
// loss would.
#pragma once

#include <cerrno>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "base/error.h"
#include "base/file.h"

namespace flor::testing {

class FaultyFiles : public FileSystem {
 public:
  struct Content {
    Buffer bytes;
    std::size_t synced = 0;
  };

  std::optional<std::uint64_t> space_bytes;
  void fail_at(int calls, int errno_value = EIO) { fail_in_ = calls, fail_errno_ = errno_value; }
  void crash() {
    const std::lock_guard lock(mutex_);
    for (auto& [path, content] : files_) content->bytes.resize(content->synced);
  }
  // For damage tests: the live bytes of a file.
  Buffer& raw(const std::string& path) { return files_.at(path)->bytes; }
  std::map<std::string, std::shared_ptr<Content>>& files() { return files_; }

  std::unique_ptr<AppendFile> create(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    check("can't create", path);
    if (files_.count(path) != 0) throw system_error("can't create", path, EEXIST);
    return std::make_unique<File>(*this, path, files_[path] = std::make_shared<Content>());
  }
  std::shared_ptr<MappedFile> map(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    const auto it = files_.find(path);
    if (it == files_.end()) throw system_error("can't open", path, ENOENT);
    return std::make_shared<Copy>(path, it->second->bytes);
  }
  void make_dirs(const std::string&) override {}
  bool exists(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    if (files_.count(path) != 0) return true;
    const auto it = files_.lower_bound(path + "/");
    return it != files_.end() && it->first.rfind(path + "/", 0) == 0;
  }
  std::vector<std::string> list(const std::string& folder) override {
    const std::lock_guard lock(mutex_);
    std::set<std::string> names;
    const std::string prefix = folder + "/";
    for (const auto& [path, content] : files_)
      if (path.rfind(prefix, 0) == 0)
        names.insert(path.substr(prefix.size(), path.find('/', prefix.size()) - prefix.size()));
    return {names.begin(), names.end()};
  }
  void rename(const std::string& from, const std::string& to) override {
    const std::lock_guard lock(mutex_);
    check("can't rename", from);
    const auto it = files_.find(from);
    if (it == files_.end()) throw system_error("can't rename", from, ENOENT);
    files_[to] = it->second;
    files_.erase(from);
  }
  void remove(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    check("can't remove", path);
    files_.erase(path);
  }
  void sync_file(const std::string& path) override {
    const std::lock_guard lock(mutex_);
    check("can't sync", path);
    const auto it = files_.find(path);
    if (it == files_.end()) throw system_error("can't sync", path, ENOENT);
    it->second->synced = it->second->bytes.size();
  }
  void sync_dir(const std::string&) override {}
  std::unique_ptr<LockFile> open_locks(const std::string&) override {
    return std::make_unique<Locks>(*this);
  }

 private:
  class File final : public AppendFile {
   public:
    File(FaultyFiles& owner, std::string path, std::shared_ptr<Content> content)
        : owner_(owner), path_(std::move(path)), content_(std::move(content)) {}
    void append(Bytes bytes) override {
      const std::lock_guard lock(owner_.mutex_);
      owner_.check("can't write", path_);
      std::size_t room = bytes.size();
      if (owner_.space_bytes) room = std::min<std::uint64_t>(room, *owner_.space_bytes);
      content_->bytes.insert(content_->bytes.end(), bytes.begin(),
                             bytes.begin() + static_cast<std::ptrdiff_t>(room));
      if (owner_.space_bytes) *owner_.space_bytes -= room;
      if (room < bytes.size()) throw system_error("can't write", path_, ENOSPC);
      size_ += bytes.size();
    }
    void sync() override {
      const std::lock_guard lock(owner_.mutex_);
      owner_.check("can't sync", path_);
      content_->synced = content_->bytes.size();
    }
    void truncate(std::uint64_t size_bytes) override {
      const std::lock_guard lock(owner_.mutex_);
      content_->bytes.resize(size_bytes);
      content_->synced = std::min<std::size_t>(content_->synced, size_bytes);
      size_ = size_bytes;
    }
    std::uint64_t size() const noexcept override { return size_; }
    const std::string& path() const noexcept override { return path_; }

   private:
    FaultyFiles& owner_;
    std::string path_;
    std::shared_ptr<Content> content_;
    std::uint64_t size_ = 0;
  };
  class Copy final : public MappedFile {
   public:
    Copy(std::string path, Buffer bytes) : path_(std::move(path)), bytes_(std::move(bytes)) {}
    Bytes bytes() const noexcept override { return bytes_; }
    const std::string& path() const noexcept override { return path_; }

   private:
    std::string path_;
    Buffer bytes_;
  };

  class Locks final : public LockFile {
   public:
    explicit Locks(FaultyFiles& owner) : owner_(owner) {}
    ~Locks() override {
      const std::lock_guard lock(owner_.mutex_);
      for (auto& [at, holders] : owner_.locks_) holders.erase(this);
    }
    bool try_lock(std::uint64_t at, Mode mode) override {
      const std::lock_guard lock(owner_.mutex_);
      auto& holders = owner_.locks_[at];
      for (const auto& [holder, held] : holders)
        if (holder != this && (mode == Mode::kExclusive || held == Mode::kExclusive)) return false;
      holders[this] = mode;
      return true;
    }
    void unlock(std::uint64_t at) noexcept override {
      const std::lock_guard lock(owner_.mutex_);
      owner_.locks_[at].erase(this);
    }

   private:
    FaultyFiles& owner_;
  };

  void check(const char* what, const std::string& path) {
    if (fail_in_ > 0 && --fail_in_ == 0) throw system_error(what, path, fail_errno_);
  }

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Content>> files_;
  std::map<std::uint64_t, std::map<const LockFile*, LockFile::Mode>> locks_;
  int fail_in_ = 0, fail_errno_ = EIO;
};

}  // namespace flor::testing
