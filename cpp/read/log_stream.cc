#include "read/log_stream.h"

#include <algorithm>

#include "base/error.h"

namespace flor {
namespace {

// Ids are given out in order, so one far above those seen is damage and not a reason to allocate.
constexpr std::size_t kLargestGap = std::size_t{1} << 24;

void put(std::vector<std::uint32_t>& map, std::uint32_t id, std::uint32_t number,
         std::uint32_t unknown) {
  if (id > map.size() + kLargestGap)
    throw Error(ErrorKind::kCorrupt, "a log defines an id far beyond the ids before it", {},
                Error::kNoOffset, "about " + std::to_string(map.size()), std::to_string(id));
  if (id >= map.size()) map.resize(std::size_t{id} + 1, unknown);
  map[id] = number;
}

}  // namespace

std::int32_t LogDictionary::name(std::string_view text) {
  const auto found = by_text_.find(text);
  if (found != by_text_.end()) return found->second;
  const auto number = static_cast<std::int32_t>(names_.size());
  names_.add(text);
  by_text_.emplace(text, number);
  return number;
}

std::uint32_t LogDictionary::add_context(Context context) {
  contexts_.push_back(std::move(context));
  return static_cast<std::uint32_t>(contexts_.size() - 1);
}

void LogStream::undefined(const char* what, std::uint32_t id) {
  if (!tolerant_)
    throw Error(ErrorKind::kCorrupt, std::string("a log uses an undefined ") + what, {},
                Error::kNoOffset, "a definition before", "id " + std::to_string(id));
}

void LogStream::on_name(std::uint32_t id, std::string_view text) {
  put(names_, id, static_cast<std::uint32_t>(dictionary_.name(text)), kUnknown);
}

void LogStream::on_context(std::uint32_t id, std::uint32_t parent, std::uint32_t loop,
                           std::int64_t index, std::string_view value) {
  const bool parent_known =
      parent == 0 || (parent < contexts_.size() && contexts_[parent] != kUnknown);
  const bool loop_known = loop < names_.size() && names_[loop] != kUnknown;
  if (!parent_known || !loop_known)
    return undefined(parent_known ? "loop name" : "iteration", parent_known ? loop : parent);
  // A ring's copy may repeat what a segment said.
  if (id < contexts_.size() && contexts_[id] != kUnknown) return;
  put(contexts_, id,
      dictionary_.add_context({parent == 0 ? 0 : contexts_[parent],
                               static_cast<std::int32_t>(names_[loop]), index, std::string(value)}),
      kUnknown);
}

void LogStream::on_records(const RecordColumns& records) {
  std::size_t start = 0;
  // Grow by doubling: blocks are small against a log, and reserve() to fit would make this
  // quadratic.
  if (rows_.capacity() - rows_.size() < records.kind.size())
    rows_.reserve(std::max(rows_.capacity() * 2, rows_.size() + records.kind.size()));
  for (std::size_t i = 0; i < records.kind.size(); ++i) {
    const std::size_t end = records.payload_end[i];
    add_record({std::to_integer<std::uint8_t>(records.kind[i]), records.name[i], records.context[i],
                records.seq[i], records.time_ns[i]},
               records.payload.subspan(start, end - start));
    start = end;
  }
}

void LogStream::add_frame(const Frame& frame) {
  const FrameFields& fields = frame.fields;
  if (fields.kind == kNameFrame) return on_name(fields.name, as_text(frame.payload));
  if (fields.kind != kContextFrame) return add_record(fields, frame.payload);
  on_context(static_cast<std::uint32_t>(fields.seq), fields.context, fields.name, fields.time_ns,
             as_text(frame.payload));
}

void LogStream::add_record(const FrameFields& fields, Bytes payload) {
  if (fields.seq < next_seq_) return;  // was in an earlier block
  next_seq_ = fields.seq + 1;
  const bool name_known = fields.name < names_.size() && names_[fields.name] != kUnknown;
  const bool context_known = fields.context == 0 || (fields.context < contexts_.size() &&
                                                     contexts_[fields.context] != kUnknown);
  if (!name_known || !context_known) {
    undefined(name_known ? "iteration" : "name", name_known ? fields.context : fields.name);
    ++dropped_records_;
    return;
  }
  Row row{fields.time_ns,
          fields.seq,
          0,
          static_cast<std::uint32_t>(payload.size()),
          fields.context == 0 ? 0 : contexts_[fields.context],
          static_cast<std::int32_t>(names_[fields.name]),
          fields.kind};
  if (fixed_payload_bytes(fields.kind) >= 0) {
    if (!payload.empty()) std::memcpy(&row.payload, payload.data(), payload.size());
  } else {
    row.payload = heap_.size();
    heap_.insert(heap_.end(), payload.begin(), payload.end());
  }
  rows_.push_back(row);
}

}  // namespace flor
