#include "format/segment_columns.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace flor {

void BlockBuilder::clear() noexcept {
  for (ColumnBuffer* column : {&name_definitions_, &context_definitions_, &kind_, &name_, &context_,
                               &seq_, &time_, &length_, &payload_, &out_})
    column->clear();
  records_ = names_ = contexts_ = 0;
  context_before_ = 0;
  first_seq_ = seq_before_ = 0;
  first_time_ns_ = time_before_ns_ = 0;
}

std::size_t BlockBuilder::raw_bytes() const noexcept {
  return name_definitions_.size() + context_definitions_.size() + kind_.size() + name_.size() +
         context_.size() + seq_.size() + time_.size() + length_.size() + payload_.size() + 64;
}

void BlockBuilder::add(const Frame& frame) {
  if (frame.fields.kind == kContextFrame) return add_context(frame);
  if (frame.fields.kind != kNameFrame) return add_record(frame);
  ++names_;
  name_definitions_.put_varint(frame.fields.name);
  name_definitions_.put_varint(frame.payload.size());
  name_definitions_.put_bytes(frame.payload);
}

void BlockBuilder::add_context(const Frame& frame) {
  ++contexts_;
  context_definitions_.put_varint(frame.fields.seq);
  context_definitions_.put_varint(frame.fields.context);
  context_definitions_.put_varint(frame.fields.name);
  context_definitions_.put_zigzag(static_cast<std::uint64_t>(frame.fields.time_ns));
  context_definitions_.put_varint(frame.payload.size());
  context_definitions_.put_bytes(frame.payload);
}

void BlockBuilder::add_record(const Frame& frame) {
  const FrameFields& fields = frame.fields;
  if (records_ == 0) {
    first_seq_ = fields.seq, seq_before_ = fields.seq - 1;
    first_time_ns_ = time_before_ns_ = fields.time_ns;
  }
  ++records_;
  kind_.put_byte(fields.kind);
  name_.put_varint(fields.name);
  context_.put_zigzag(std::uint64_t{fields.context} - context_before_);
  seq_.put_varint(fields.seq - seq_before_ - 1);
  time_.put_zigzag(static_cast<std::uint64_t>(fields.time_ns) -
                   static_cast<std::uint64_t>(time_before_ns_));
  if (fixed_payload_bytes(fields.kind) < 0) length_.put_varint(frame.payload.size());
  payload_.put_bytes(frame.payload);
  context_before_ = fields.context;
  seq_before_ = fields.seq;
  time_before_ns_ = fields.time_ns;
}

Bytes BlockBuilder::finish(BlockHeader& header) {
  out_.clear();
  out_.put_varint(names_);
  out_.put_bytes(name_definitions_.view());
  out_.put_varint(contexts_);
  out_.put_bytes(context_definitions_.view());
  for (const ColumnBuffer* column :
       {&kind_, &name_, &context_, &seq_, &time_, &length_, &payload_}) {
    const auto size = static_cast<std::uint32_t>(column->size());
    out_.put_bytes(std::as_bytes(std::span(&size, 1)));
    out_.put_bytes(column->view());
  }
  header.raw_bytes = static_cast<std::uint32_t>(out_.size());
  header.records = records_;
  header.first_seq = first_seq_;
  header.last_seq = records_ == 0 ? 0 : seq_before_;
  header.first_time_ns = first_time_ns_;
  header.last_time_ns = time_before_ns_;
  return out_.view();
}

namespace {

[[noreturn]] void broken(const char* what) {
  throw Error(ErrorKind::kCorrupt, std::string("a log block breaks its grammar: ") + what);
}

// Reads varints from a span; a short or overlong one throws.
class Cursor {
 public:
  explicit Cursor(Bytes in) noexcept : at_(in.data()), end_(in.data() + in.size()) {}
  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64 && at_ != end_; shift += 7) {
      const auto byte = std::to_integer<std::uint64_t>(*at_++);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    broken("a bad varint");
  }
  std::uint64_t zigzag() {
    const std::uint64_t value = varint();
    return (value >> 1) ^ (0 - (value & 1));
  }
  std::uint32_t id() {
    const std::uint64_t value = varint();
    if (value > 0xffffffffU) broken("an id above 32 bits");
    return static_cast<std::uint32_t>(value);
  }
  Bytes bytes(std::uint64_t count) {
    if (count > static_cast<std::uint64_t>(end_ - at_)) broken("a length past the end");
    const Bytes out(at_, static_cast<std::size_t>(count));
    at_ += count;
    return out;
  }
  Bytes column() {
    const Bytes size = bytes(4);
    return bytes(load<std::uint32_t>(size.data()));
  }
  bool done() const noexcept { return at_ == end_; }

 private:
  const std::byte* at_;
  const std::byte* end_;
};

struct NameDefinition {
  std::uint32_t id;
  Bytes text;
};
struct ContextDefinition {
  std::uint32_t id, parent, loop;
  std::int64_t index;
  Bytes value;
};

void decode_names(Cursor& in, std::vector<NameDefinition>& out) {
  for (std::uint64_t left = in.varint(); left > 0; --left) {
    const std::uint32_t id = in.id();
    out.push_back({id, in.bytes(in.varint())});
  }
}

void decode_contexts(Cursor& in, std::vector<ContextDefinition>& out) {
  for (std::uint64_t left = in.varint(); left > 0; --left) {
    ContextDefinition context{};
    context.id = in.id();
    context.parent = in.id();
    context.loop = in.id();
    context.index = static_cast<std::int64_t>(in.zigzag());
    context.value = in.bytes(in.varint());
    out.push_back(context);
  }
}

void decode_numbers(const BlockHeader& header, Cursor name, Cursor context, Cursor seq, Cursor time,
                    RecordColumns& out) {
  std::uint64_t context_now = 0, seq_now = header.first_seq - 1;
  auto time_now = static_cast<std::uint64_t>(header.first_time_ns);
  for (std::size_t i = 0; i < header.records; ++i) {
    out.name[i] = name.id();
    context_now += context.zigzag();
    if (context_now > 0xffffffffU) broken("a context id above 32 bits");
    out.context[i] = static_cast<std::uint32_t>(context_now);
    out.seq[i] = seq_now += seq.varint() + 1;
    time_now += time.zigzag();
    out.time_ns[i] = static_cast<std::int64_t>(time_now);
  }
  if (header.records != 0 && seq_now != header.last_seq) broken("the last sequence number differs");
  if (!name.done() || !context.done() || !seq.done() || !time.done())
    broken("a column is too long");
}

void decode_payloads(Cursor length, RecordColumns& out) {
  std::uint64_t end = 0;
  for (std::size_t i = 0; i < out.kind.size(); ++i) {
    const auto kind = std::to_integer<std::uint8_t>(out.kind[i]);
    if (!is_record_kind(kind)) broken("an unknown value kind");
    const int fixed = fixed_payload_bytes(kind);
    const std::uint64_t size = fixed < 0 ? length.varint() : static_cast<std::uint64_t>(fixed);
    if (size > out.payload.size() - end) broken("payloads past the end");
    end += size;
    out.payload_end[i] = static_cast<std::uint32_t>(end);
  }
  if (end != out.payload.size() || !length.done()) broken("payloads too long");
}

void decode_records(const BlockHeader& header, Cursor& in, RecordColumns& out) {
  out.kind = in.column();
  if (out.kind.size() != header.records) broken("the count of records differs");
  out.name.resize(header.records);
  out.context.resize(header.records);
  out.seq.resize(header.records);
  out.time_ns.resize(header.records);
  out.payload_end.resize(header.records);
  const Cursor name(in.column()), context(in.column()), seq(in.column()), time(in.column());
  decode_numbers(header, name, context, seq, time, out);
  const Cursor length(in.column());
  out.payload = in.column();
  decode_payloads(length, out);
  if (!in.done()) broken("bytes after the last column");
}

}  // namespace

void decode_block(const BlockHeader& header, Bytes payload, RecordColumns& scratch,
                  BlockVisitor& visitor) {
  Cursor in(payload);
  std::vector<NameDefinition> names;
  std::vector<ContextDefinition> contexts;
  decode_names(in, names);
  decode_contexts(in, contexts);
  decode_records(header, in, scratch);
  for (const auto& name : names) visitor.on_name(name.id, as_text(name.text));
  for (const auto& c : contexts)
    visitor.on_context(c.id, c.parent, c.loop, c.index, as_text(c.value));
  if (header.records != 0) visitor.on_records(scratch);
}

}  // namespace flor
