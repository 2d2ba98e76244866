#include "log/context_stack.h"

#include <catch2/catch.hpp>

#include "log/temporary_folder.h"

namespace flor {
namespace {

struct Fixture {
  testing::TemporaryFolder folder;
  DrainState state;
  Producer producer{Ring::create(folder.path() + "/w.0.ring", {0, 65536, 1, "w"}), 0, state};
  ContextStack stack;

  // The definitions and contexts that logging one record now adds to the ring.
  std::vector<std::string> log() {
    std::uint32_t name = 0, context = 0;
    REQUIRE(producer.name_id("x", name) == Producer::Outcome::kLogged);
    REQUIRE(stack.current(producer, context) == Producer::Outcome::kLogged);
    REQUIRE(producer.try_log(0, name, context, {}) == Producer::Outcome::kLogged);
    std::vector<std::string> out;
    Ring& ring = producer.ring();
    Frame frame;
    for (Bytes in = ring.readable(); !in.empty(); in = ring.readable()) {
      REQUIRE(read_frame(in, ring.read_position(), frame) == FrameStatus::kOk);
      const FrameFields& f = frame.fields;
      if (f.kind == kNameFrame) out.push_back("name " + std::string(as_text(frame.payload)));
      if (f.kind == kContextFrame)
        out.push_back(std::to_string(f.context) + ">" + std::to_string(f.seq) + " [" +
                      std::to_string(f.time_ns) + "]" + std::string(as_text(frame.payload)));
      if (f.kind == 0) out.push_back("in " + std::to_string(f.context));
      ring.release(frame.size);
    }
    return out;
  }
};

using Lines = std::vector<std::string>;

TEST_CASE("contexts are written when a record needs them, once", "[context]") {
  Fixture t;
  const auto epoch = t.stack.enter("epoch");
  CHECK(t.log() == Lines{"name x", "in 0"});  // before the first step it adds nothing
  t.stack.step(epoch, 3, "");
  const auto step = t.stack.enter("step");
  for (int i = 0; i < 100; ++i) t.stack.step(step, i, "[1]");
  CHECK(t.log() == Lines{"name epoch", "0>1 [3]", "name step", "1>2 [99][1]", "in 2"});
  CHECK(t.log() == Lines{"in 2"});
  t.stack.step(step, 100, "");
  CHECK(t.log() == Lines{"1>3 [100]", "in 3"});
  t.stack.leave(step);
  CHECK(t.log() == Lines{"in 1"});
  t.stack.leave(epoch);
  CHECK(t.log() == Lines{"in 0"});
}

TEST_CASE("a loop of the same name in one iteration is numbered; the parent's step counts anew",
          "[context]") {
  ContextStack stack;
  const auto epoch = stack.enter("epoch");
  stack.step(epoch, 0, "");
  for (const char* expected : {"eval", "eval#2", "eval#3"}) {
    const auto token = stack.enter("eval");
    CHECK(stack.entries().back().loop == expected);
    stack.leave(token);
  }
  stack.step(epoch, 1, "");
  stack.enter("eval");
  CHECK(stack.entries().back().loop == "eval");
  stack.reset();
  stack.enter("epoch");
  CHECK(stack.entries().back().loop == "epoch");
  stack.leave(stack.entries().back().token);
  stack.enter("epoch");
  CHECK(stack.entries().back().loop == "epoch#2");
  stack.leave(stack.entries().back().token);
  stack.forget_top_level_counts();
  stack.enter("epoch");
  CHECK(stack.entries().back().loop == "epoch");
}

TEST_CASE("leaving or stepping a loop that is not the last one touches just it", "[context]") {
  Fixture t;
  const auto a = t.stack.enter("a");
  t.stack.step(a, 0, "");
  const auto b = t.stack.enter("b");
  t.stack.step(b, 0, "");
  CHECK(t.log() == Lines{"name x", "name a", "0>1 [0]", "name b", "1>2 [0]", "in 2"});
  t.stack.step(a, 1, "");
  CHECK(t.log() == Lines{"0>3 [1]", "3>4 [0]", "in 4"});
  CHECK(t.stack.leave(a));
  CHECK(t.log() == Lines{"0>5 [0]", "in 5"});
  CHECK_FALSE(t.stack.leave(a));
  CHECK_FALSE(t.stack.step(a, 2, ""));
  CHECK(t.stack.step(b, 2, ""));
}

TEST_CASE("a loop that is hidden is no part of the path, and comes back", "[context]") {
  Fixture t;
  const auto epoch = t.stack.enter_as("epoch#7");
  t.stack.step(epoch, 0, "");
  const auto waiting = t.stack.enter_as("i");
  t.stack.step(waiting, 5, "");
  t.stack.hide(waiting, true);
  CHECK(t.log() == Lines{"name x", "name epoch#7", "0>1 [0]", "in 1"});
  t.stack.hide(waiting, false);
  CHECK(t.log() == Lines{"name i", "1>2 [5]", "in 2"});
  t.stack.hide(epoch, true);
  CHECK(t.log() == Lines{"0>3 [5]", "in 3"});
  t.stack.enter("epoch");  // what was entered with a number is not counted
  CHECK(t.stack.entries().back().loop == "epoch");
  t.stack.hide(0, true);
  CHECK(t.stack.leave(waiting));
}

TEST_CASE("a new producer gets all definitions again", "[context]") {
  Fixture t;
  t.stack.step(t.stack.enter("a"), 0, "");
  t.log();
  Producer other{Ring::create(t.folder.path() + "/w.1.ring", {1, 4096, 1, "w"}), 1, t.state};
  t.stack.forget_ids();
  std::uint32_t id = 0;
  CHECK(t.stack.current(other, id) == Producer::Outcome::kLogged);
  CHECK(id == 1);
}

TEST_CASE("a definition that finds the ring full is written on the next try", "[context]") {
  Fixture t;
  Producer small{Ring::create(t.folder.path() + "/w.1.ring", {1, 4096, 1, "w"}), 1, t.state};
  std::uint32_t name = 0, id = 0;
  REQUIRE(small.name_id("x", name) == Producer::Outcome::kLogged);
  while (small.try_log(0, name, 0, {}) == Producer::Outcome::kLogged) {
  }
  t.stack.step(t.stack.enter("a"), 0, "");
  CHECK(t.stack.current(small, id) == Producer::Outcome::kFull);
  small.ring().release(small.ring().readable().size());
  CHECK(t.stack.current(small, id) == Producer::Outcome::kLogged);
  CHECK(id == 1);
}

}  // namespace
}  // namespace flor
