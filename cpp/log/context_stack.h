// The loops a thread is in: what `flor.loop` enters, steps and leaves.
//
// Nothing is written until a record needs it: current() defines the contexts of the path that the
// ring does not know yet, so an iteration that logs nothing costs nothing on disk. A loop adds
// nothing to the path before its first step. The second loop of one name inside one iteration of
// its parent is called `name#2`.
//
// Thread-safety: belongs to one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "log/producer.h"

namespace flor {

class ContextStack {
 public:
  struct Entry {
    std::uint64_t token = 0;
    std::string loop;  // with its #n
    std::int64_t index = 0;
    std::string value;  // JSON text; empty = none
    bool stepped = false;
    bool hidden = false;                               // of a generator that waits: not in the path
    std::uint32_t loop_id = 0, parent_id = 0, id = 0;  // in the ring; 0 = not defined yet
    std::vector<std::pair<std::string, std::uint32_t>> children;  // loops entered in this iteration
  };

  // Returns a token, unique in the thread. Never 0.
  std::uint64_t enter(std::string_view loop);
  // The same under a name that has its number already; it is not counted.
  std::uint64_t enter_as(std::string name);
  // Takes a loop out of the path, or back into it, without leaving it.
  void hide(std::uint64_t token, bool hidden) noexcept;
  // False when no entered loop has this token. Loops above keep their index and get a new parent.
  bool step(std::uint64_t token, std::int64_t index, std::string_view value);
  // Removes that loop alone, wherever it is in the stack.
  bool leave(std::uint64_t token) noexcept;
  // Leaves all loops and forgets the counts at the top level.
  void reset() noexcept;
  void forget_top_level_counts() noexcept { top_level_.clear(); }

  // The context id of the path as it is now, 0 for the empty path. Defines what is missing.
  Producer::Outcome current(Producer& producer, std::uint32_t& id) noexcept {
    if (!dirty_) [[likely]] {
      id = current_id_;
      return Producer::Outcome::kLogged;
    }
    return define(producer, id);
  }
  // Call when `producer` is another one from now on: no id is valid.
  void forget_ids() noexcept;
  // Bytes of the longest payload that current() may have to write.
  std::size_t largest_definition() const noexcept;

  const std::vector<Entry>& entries() const noexcept { return entries_; }

 private:
  Entry* find(std::uint64_t token) noexcept;
  Producer::Outcome define(Producer& producer, std::uint32_t& id) noexcept;

  std::vector<Entry> entries_;
  std::vector<std::pair<std::string, std::uint32_t>> top_level_;
  std::uint64_t next_token_ = 1;
  std::uint32_t current_id_ = 0;
  bool dirty_ = false;
};

}  // namespace flor
