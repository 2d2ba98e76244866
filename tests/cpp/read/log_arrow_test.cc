#include "read/log_arrow.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "read/log_testing.h"

namespace flor {
namespace {

std::shared_ptr<const LogTable> sample(const testing::TemporaryFolder& folder) {
  LogWriter log(folder.path(), "w", testing::options());
  Producer& producer = *log.acquire();
  std::uint32_t name = 0, loop = 0, outer = 0, inner = 0;
  producer.name_id("x", name);
  producer.name_id("epoch", loop);
  producer.define_context(0, loop, 3, "", outer);
  producer.define_context(outer, loop, 4, "[1]", inner);
  const double number = 0.5;
  producer.try_log(3, name, 0, std::as_bytes(std::span(&number, 1)));
  producer.try_log(0x84, name, inner, as_bytes("ref"));
  producer.try_log(0, name, outer, {});
  log.close();
  return read_log(real_files(), folder.path());
}

TEST_CASE("the exported array matches the schema and points at the values", "[arrow]") {
  const testing::TemporaryFolder folder;
  ArrowSchema schema;
  ArrowArray array;
  export_log_schema(&schema);
  export_log_array(sample(folder), &array);
  REQUIRE(schema.n_children == 11);
  REQUIRE(array.n_children == 11);
  CHECK(array.length == 3);
  const char* names[] = {"writer", "ring", "seq",  "context",  "name", "kind",
                         "num",    "int",  "data", "external", "time"};
  for (int i = 0; i < 11; ++i) {
    CHECK(std::strcmp(schema.children[i]->name, names[i]) == 0);
    CHECK(array.children[i]->length == 3);
    CHECK((schema.children[i]->dictionary != nullptr) ==
          (array.children[i]->dictionary != nullptr));
  }
  const auto* offsets = static_cast<const std::int32_t*>(array.children[3]->buffers[1]);
  CHECK(std::vector<std::int32_t>(offsets, offsets + 4) == std::vector<std::int32_t>{0, 0, 2, 3});
  CHECK(static_cast<const double*>(array.children[6]->buffers[1])[0] == 0.5);
  CHECK(array.children[6]->null_count == 2);
  CHECK(array.children[8]->null_count == 2);
  CHECK(static_cast<const std::uint8_t*>(array.children[9]->buffers[1])[0] ==
        2);  // row 1 is a reference
  array.release(&array);
  schema.release(&schema);
  CHECK(array.release == nullptr);
  CHECK(schema.release == nullptr);
}

TEST_CASE("a child that was moved out outlives its parent", "[arrow]") {
  const testing::TemporaryFolder folder;
  ArrowSchema schema;
  ArrowArray array;
  export_log_schema(&schema);
  export_log_array(sample(folder), &array);
  ArrowArray seq = *array.children[2];
  array.children[2]->release = nullptr;  // moved, as the specification says
  array.release(&array);
  schema.release(&schema);
  CHECK(static_cast<const std::int64_t*>(seq.buffers[1])[2] == 2);
  seq.release(&seq);
}

TEST_CASE("an empty log exports", "[arrow]") {
  ArrowArray array;
  export_log_array(read_log(real_files(), "/nonexistent"), &array);
  CHECK(array.length == 0);
  CHECK(static_cast<const std::int32_t*>(array.children[3]->buffers[1])[0] == 0);
  array.release(&array);
}

TEST_CASE("nothing leaks when nothing is exported", "[arrow]") {
  ArrowSchema schema;
  export_log_schema(&schema);
  CHECK(std::strcmp(schema.format, "+s") == 0);
  schema.release(&schema);
}

}  // namespace
}  // namespace flor
