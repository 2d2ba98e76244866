#include "log/context_stack.h"

#include <algorithm>

namespace flor {
namespace {

std::string numbered(std::vector<std::pair<std::string, std::uint32_t>>& counts,
                     std::string_view loop) {
  for (auto& [name, count] : counts)
    if (name == loop) return std::string(loop) + "#" + std::to_string(++count);
  counts.emplace_back(loop, 1);
  return std::string(loop);
}

}  // namespace

std::uint64_t ContextStack::enter(std::string_view loop) {
  return enter_as(numbered(entries_.empty() ? top_level_ : entries_.back().children, loop));
}

std::uint64_t ContextStack::enter_as(std::string name) {
  Entry entry;
  entry.token = next_token_++;
  entry.loop = std::move(name);
  entries_.push_back(std::move(entry));
  return entries_.back().token;
}

ContextStack::Entry* ContextStack::find(std::uint64_t token) noexcept {
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it)
    if (it->token == token) return &*it;
  return nullptr;
}

void ContextStack::hide(std::uint64_t token, bool hidden) noexcept {
  Entry* entry = find(token);
  if (entry == nullptr || entry->hidden == hidden) return;
  entry->hidden = hidden;
  dirty_ = true;
}

bool ContextStack::step(std::uint64_t token, std::int64_t index, std::string_view value) {
  Entry* entry = find(token);
  if (entry == nullptr) return false;
  entry->index = index;
  entry->value.assign(value);
  entry->stepped = true;
  entry->id = 0;
  entry->children.clear();
  dirty_ = true;
  return true;
}

bool ContextStack::leave(std::uint64_t token) noexcept {
  const Entry* entry = find(token);
  if (entry == nullptr) return false;
  dirty_ = dirty_ || entry->stepped;
  entries_.erase(entries_.begin() + (entry - entries_.data()));
  return true;
}

void ContextStack::reset() noexcept {
  entries_.clear();
  top_level_.clear();
  dirty_ = true;
}

void ContextStack::forget_ids() noexcept {
  for (Entry& entry : entries_) entry.loop_id = entry.parent_id = entry.id = 0;
  dirty_ = true;
}

Producer::Outcome ContextStack::define(Producer& producer, std::uint32_t& id) noexcept {
  std::uint32_t parent = 0;
  for (Entry& entry : entries_) {
    if (!entry.stepped || entry.hidden) continue;
    if (entry.id == 0 || entry.parent_id != parent) {
      auto outcome = Producer::Outcome::kLogged;
      if (entry.loop_id == 0) outcome = producer.name_id(entry.loop, entry.loop_id);
      if (outcome != Producer::Outcome::kLogged) return outcome;
      outcome = producer.define_context(parent, entry.loop_id, entry.index, entry.value, entry.id);
      if (outcome != Producer::Outcome::kLogged) return outcome;
      entry.parent_id = parent;
    }
    parent = entry.id;
  }
  id = current_id_ = parent;
  dirty_ = false;
  return Producer::Outcome::kLogged;
}

std::size_t ContextStack::largest_definition() const noexcept {
  std::size_t largest = 0;
  for (const Entry& entry : entries_)
    largest = std::max({largest, entry.value.size(), entry.loop.size()});
  return largest;
}

}  // namespace flor
