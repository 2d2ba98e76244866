// Background threads that run tasks in order of submission: low priority, signals blocked, no GIL.
//
// Thread-safety: safe for concurrent use. Tasks must not throw.
// Destruction runs what was submitted, then joins.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace flor {

class WorkerPool {
 public:
  // A task is told which worker runs it: 0 to threads - 1.
  using Task = std::function<void(std::size_t worker)>;

  explicit WorkerPool(std::size_t threads) : threads_wanted_(threads) {}
  ~WorkerPool() { stop(); }
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Starts the threads; nothing when they run already. Throws std::system_error.
  void start();
  // REQUIRES: started.
  void submit(Task task);
  // Runs what was submitted, then ends the threads. Later tasks are never run.
  void stop();

 private:
  void run(std::size_t worker);

  const std::size_t threads_wanted_;
  std::mutex mutex_;  // guards tasks_, stopping_, threads_
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace flor
