#include "snapshot/pending.h"

#include <unistd.h>

#include <chrono>

#include "base/error.h"

namespace flor {

Pending::Pending(std::string path)
    : path_(std::move(path)), process_(::getpid()), shared_(std::make_unique<Shared>()) {}

Pending::~Pending() {
  if (::getpid() != process_) (void)shared_.release();
}

bool Pending::done() const {
  if (::getpid() != process_) return false;
  const std::lock_guard lock(shared_->mutex);
  return shared_->done;
}

bool Pending::wait(std::optional<double> timeout_seconds) const {
  if (::getpid() != process_)
    throw Error(ErrorKind::kClosed,
                "this checkpoint belongs to the parent process; wait for it there", path_);
  std::unique_lock lock(shared_->mutex);
  const auto done = [this] { return shared_->done; };
  if (!timeout_seconds)
    shared_->changed.wait(lock, done);
  else if (!shared_->changed.wait_for(lock, std::chrono::duration<double>(*timeout_seconds), done))
    return false;
  if (shared_->error) std::rethrow_exception(shared_->error);
  return true;
}

std::optional<std::string> Pending::error() const {
  if (::getpid() != process_) return std::nullopt;
  const std::lock_guard lock(shared_->mutex);
  if (!shared_->error) return std::nullopt;
  try {
    std::rethrow_exception(shared_->error);
  } catch (const std::exception& error) {
    return error.what();
  }
}

bool Pending::refused() const {
  if (::getpid() != process_) return false;
  const std::lock_guard lock(shared_->mutex);
  return shared_->refused;
}

void Pending::fail(std::exception_ptr error) {
  const std::lock_guard lock(shared_->mutex);
  if (shared_->error) return;
  shared_->error = std::move(error);
  try {
    std::rethrow_exception(shared_->error);
  } catch (const Error& known) {
    shared_->refused = known.kind() == ErrorKind::kRefused;
  } catch (...) {
    shared_->refused = false;
  }
}

bool Pending::failed() const {
  const std::lock_guard lock(shared_->mutex);
  return shared_->error != nullptr;
}

const ContentRef* Pending::base_of(std::size_t region) const noexcept {
  if (bases_ == nullptr || region >= bases_->size()) return nullptr;
  const ContentRef& base = (*bases_)[region];
  return base.nbytes == manifest_.regions[region].nbytes ? &base : nullptr;
}

void Pending::finish() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->done = true;
  }
  shared_->changed.notify_all();
}

}  // namespace flor
