#include "read/log_arrow.h"

#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace flor {
namespace {

// What an exported struct owns. Children are separate allocations: a consumer may move one out and
// release the parent first.
struct SchemaParts {
  std::string format, name;
  std::vector<ArrowSchema*> children;
};

void release_schema(ArrowSchema* schema) noexcept {
  const std::unique_ptr<SchemaParts> parts(static_cast<SchemaParts*>(schema->private_data));
  for (ArrowSchema* child : parts->children) {
    if (child->release != nullptr) child->release(child);
    delete child;
  }
  if (schema->dictionary != nullptr) {
    if (schema->dictionary->release != nullptr) schema->dictionary->release(schema->dictionary);
    delete schema->dictionary;
  }
  schema->release = nullptr;
}

void make_schema(ArrowSchema* out, const char* format, const char* name, bool nullable,
                 std::vector<ArrowSchema*> children = {}) {
  auto* parts = new SchemaParts{format, name, std::move(children)};
  *out = {parts->format.c_str(),
          parts->name.c_str(),
          nullptr,
          nullable ? ARROW_FLAG_NULLABLE : 0,
          static_cast<std::int64_t>(parts->children.size()),
          parts->children.data(),
          nullptr,
          release_schema,
          parts};
}

ArrowSchema* schema(const char* format, const char* name, bool nullable = false,
                    std::vector<ArrowSchema*> children = {}) {
  auto* out = new ArrowSchema;
  make_schema(out, format, name, nullable, std::move(children));
  return out;
}

ArrowSchema* dictionary_schema(const char* name) {
  ArrowSchema* out = schema("i", name);
  out->dictionary = schema("u", "");
  return out;
}

struct ArrayParts {
  std::shared_ptr<const LogTable> table;
  std::vector<const void*> buffers;
  std::vector<ArrowArray*> children;
};

void release_array(ArrowArray* array) noexcept {
  const std::unique_ptr<ArrayParts> parts(static_cast<ArrayParts*>(array->private_data));
  for (ArrowArray* child : parts->children) {
    if (child->release != nullptr) child->release(child);
    delete child;
  }
  if (array->dictionary != nullptr) {
    if (array->dictionary->release != nullptr) array->dictionary->release(array->dictionary);
    delete array->dictionary;
  }
  array->release = nullptr;
}

class ArrayMaker {
 public:
  explicit ArrayMaker(std::shared_ptr<const LogTable> table) : table_(std::move(table)) {}

  void make(ArrowArray* out, std::size_t length, std::vector<const void*> buffers,
            std::int64_t nulls = 0, std::vector<ArrowArray*> children = {}) {
    auto* parts = new ArrayParts{table_, std::move(buffers), std::move(children)};
    *out = {static_cast<std::int64_t>(length),
            nulls,
            0,
            static_cast<std::int64_t>(parts->buffers.size()),
            static_cast<std::int64_t>(parts->children.size()),
            parts->buffers.data(),
            parts->children.data(),
            nullptr,
            release_array,
            parts};
  }
  ArrowArray* array(std::size_t length, std::vector<const void*> buffers, std::int64_t nulls = 0,
                    std::vector<ArrowArray*> children = {}) {
    auto* out = new ArrowArray;
    make(out, length, std::move(buffers), nulls, std::move(children));
    return out;
  }
  template <typename T>
  ArrowArray* plain(const std::vector<T>& values) {
    return array(values.size(), {nullptr, values.data()});
  }
  template <typename T>
  ArrowArray* nullable(const std::vector<T>& values, const BitColumn& valid) {
    return array(values.size(), {valid.data(), values.data()}, valid.nulls());
  }
  ArrowArray* text(const TextColumn& column) {
    return array(column.size(), {nullptr, column.offsets.data(), column.bytes.data()});
  }
  ArrowArray* text(const TextColumn& column, const BitColumn& valid) {
    return array(column.size(), {valid.data(), column.offsets.data(), column.bytes.data()},
                 valid.nulls());
  }
  ArrowArray* dictionary(const std::vector<std::int32_t>& indices, const TextColumn& values) {
    ArrowArray* out = plain(indices);
    out->dictionary = text(values);
    return out;
  }
  ArrowArray* context() {
    const LogTable& t = *table_;
    ArrowArray* elements = array(t.index.size(), {nullptr}, 0,
                                 {text(t.loop), plain(t.index), text(t.value, t.value_valid)});
    return array(t.rows, {nullptr, t.context_offsets.data()}, 0, {elements});
  }

 private:
  std::shared_ptr<const LogTable> table_;
};

}  // namespace

void export_log_schema(ArrowSchema* out) {
  ArrowSchema* element = schema(
      "+s", "item", false, {schema("u", "loop"), schema("l", "index"), schema("u", "value", true)});
  make_schema(out, "+s", "", false,
              {dictionary_schema("writer"), schema("i", "ring"), schema("l", "seq"),
               schema("+l", "context", false, {element}), dictionary_schema("name"),
               schema("C", "kind"), schema("g", "num", true), schema("l", "int", true),
               schema("z", "data", true), schema("b", "external"), schema("g", "time")});
}

void export_log_array(std::shared_ptr<const LogTable> table, ArrowArray* out) {
  const LogTable& t = *table;
  ArrayMaker maker(table);
  maker.make(out, t.rows, {nullptr}, 0,
             {maker.dictionary(t.writer, t.writers), maker.plain(t.ring), maker.plain(t.seq),
              maker.context(), maker.dictionary(t.name, t.names), maker.plain(t.kind),
              maker.nullable(t.num, t.num_valid), maker.nullable(t.integer, t.integer_valid),
              maker.text(t.data, t.data_valid), maker.array(t.rows, {nullptr, t.external.data()}),
              maker.plain(t.time)});
}

}  // namespace flor
