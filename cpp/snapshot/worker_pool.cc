#include "snapshot/worker_pool.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace flor {
namespace {

// About a tenth of a core when the training wants them all; all of an idle one. Lower, and
// checkpoints would pile up in memory.
constexpr int kNice = 10;

// Signals are for the threads of the program; a handler must never run on ours.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

void WorkerPool::submit(Task task) {
  {
    const std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  changed_.notify_one();
}

void WorkerPool::start() {
  const std::lock_guard lock(mutex_);
  if (!threads_.empty() || stopping_) return;
  const SignalsBlocked blocked;
  for (std::size_t i = 0; i < threads_wanted_; ++i) threads_.emplace_back([this, i] { run(i); });
}

void WorkerPool::run(std::size_t worker) {
  pthread_setname_np(pthread_self(), "flor-store");
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
      if (tasks_.empty()) return;
      task = std::move(tasks_.front());
      tasks_.pop_front();
    }
    task(worker);
  }
}

void WorkerPool::stop() {
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  changed_.notify_all();
  for (std::thread& thread : threads) thread.join();
}

}  // namespace flor
