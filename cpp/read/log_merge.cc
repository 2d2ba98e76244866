#include "read/log_merge.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <queue>

#include "base/error.h"

namespace flor {

void TextColumn::add(Bytes text) {
  if (bytes.size() + text.size() > 0x7fffffffU)
    throw Error(ErrorKind::kInvalid,
                "a log with more than 2 GiB of text can't be read as one table");
  bytes.insert(bytes.end(), text.begin(), text.end());
  offsets.push_back(static_cast<std::int32_t>(bytes.size()));
}

namespace {

class RowWriter {
 public:
  RowWriter(LogDictionary& dictionary, LogTable& table) : dictionary_(dictionary), table_(table) {}

  void reserve(std::size_t rows) {
    table_.writer.reserve(rows), table_.ring.reserve(rows), table_.name.reserve(rows);
    table_.seq.reserve(rows), table_.kind.reserve(rows), table_.time.reserve(rows);
    table_.num.reserve(rows), table_.integer.reserve(rows);
    table_.data.offsets.reserve(rows + 1), table_.context_offsets.reserve(rows + 1);
    for (BitColumn* bits :
         {&table_.num_valid, &table_.integer_valid, &table_.external, &table_.data_valid})
      bits->reserve(rows);
  }
  void add(const LogRing& ring, const LogStream::Row& row) {
    table_.writer.push_back(ring.writer);
    table_.ring.push_back(ring.ring);
    table_.name.push_back(row.name);
    table_.seq.push_back(static_cast<std::int64_t>(row.seq));
    table_.kind.push_back(row.kind & static_cast<std::uint8_t>(~kExternalFlag));
    table_.external.add((row.kind & kExternalFlag) != 0);
    table_.time.push_back(static_cast<double>(row.time_ns) * 1e-9);
    add_value(*ring.stream, row);
    add_context(row.context);
    ++table_.rows;
  }

 private:
  void add_value(const LogStream& stream, const LogStream::Row& row) {
    const auto kind = static_cast<ValueKind>(row.kind & ~kExternalFlag);
    const bool whole = kind == ValueKind::kBool || kind == ValueKind::kInt64;
    const bool number = whole || kind == ValueKind::kFloat64;
    const auto integer = static_cast<std::int64_t>(row.payload);
    table_.integer.push_back(whole ? integer : 0);
    table_.integer_valid.add(whole);
    const double real = whole ? static_cast<double>(integer) : std::bit_cast<double>(row.payload);
    table_.num.push_back(number ? real : 0);
    table_.num_valid.add(number);
    const bool text = kind >= ValueKind::kString;
    table_.data.add(text ? Bytes(stream.heap()).subspan(row.payload, row.length) : Bytes{});
    table_.data_valid.add(text);
  }
  void add_context(std::uint32_t context) {
    if (context != last_context_) {
      path_.clear();
      for (std::uint32_t at = context; at != 0; at = dictionary_.context(at).parent)
        path_.push_back(at);
      last_context_ = context;
    }
    for (auto it = path_.rbegin(); it != path_.rend(); ++it) {
      const LogDictionary::Context& element = dictionary_.context(*it);
      table_.loop.add(dictionary_.name_text(element.loop));
      table_.index.push_back(element.index);
      table_.value.add(element.value);
      table_.value_valid.add(!element.value.empty());
    }
    table_.context_offsets.push_back(static_cast<std::int32_t>(table_.index.size()));
  }

  LogDictionary& dictionary_;
  LogTable& table_;
  std::uint32_t last_context_ = 0;
  std::vector<std::uint32_t> path_;
};

// Where a ring stands in the merge; the queue has the earliest on top.
struct Head {
  std::int64_t time_ns;
  std::size_t ring, row;
  bool operator>(const Head& other) const noexcept {
    return time_ns != other.time_ns ? time_ns > other.time_ns : ring > other.ring;
  }
};

}  // namespace

void merge_rings(const std::vector<LogRing>& rings, LogDictionary& dictionary, LogTable& table) {
  RowWriter out(dictionary, table);
  std::size_t rows = 0;
  std::priority_queue<Head, std::vector<Head>, std::greater<>> heads;
  for (std::size_t i = 0; i < rings.size(); ++i) {
    const auto& stream_rows = rings[i].stream->rows();
    rows += stream_rows.size();
    table.dropped_records += rings[i].stream->dropped_records();
    if (!stream_rows.empty()) heads.push({stream_rows[0].time_ns, i, 0});
  }
  out.reserve(rows);
  while (!heads.empty()) {
    Head head = heads.top();
    heads.pop();
    const auto& stream_rows = rings[head.ring].stream->rows();
    // Runs of one ring cost no queue operation.
    do {
      out.add(rings[head.ring], stream_rows[head.row]);
      if (++head.row == stream_rows.size()) break;
      head.time_ns = stream_rows[head.row].time_ns;
    } while (heads.empty() || heads.top() > head);
    if (head.row < stream_rows.size()) heads.push(head);
  }
  table.names = dictionary.take_names();
}

}  // namespace flor
