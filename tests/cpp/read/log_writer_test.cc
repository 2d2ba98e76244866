// The log writer seen through the reader: what was logged is read, whatever happens between.
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <thread>

#include "read/log_testing.h"

namespace flor {
namespace {

using testing::FullableFiles;
using testing::lines;
using testing::log_int;
using testing::options;
using testing::TemporaryFolder;
using Lines = std::vector<std::string>;

// Checks that the table holds ints 0..count-1 of ring 0, in order.
void check_counted(const LogTable& table, std::int64_t count) {
  REQUIRE(table.rows == static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) {
    if (table.seq[i] == i && table.integer[i] == i) continue;
    FAIL("row " << i << " has sequence number " << table.seq[i] << " and value "
                << table.integer[i]);
  }
}

TEST_CASE("what was logged is read from the ring, after a flush, and after close", "[log]") {
  const TemporaryFolder folder;
  LogWriter log(folder.path(), "w", options());
  Producer& producer = *log.acquire();
  log_int(producer, "a", 1);
  log_int(producer, "b", -2);
  const Lines expected{"w/0/0 a=1", "w/0/1 b=-2"};
  CHECK(lines(*read_log(real_files(), folder.path())) == expected);
  log.flush();
  CHECK(lines(*read_log(real_files(), folder.path())) == expected);
  log_int(producer, "a", 3);
  log.close();
  CHECK(lines(*read_log(real_files(), folder.path())) ==
        Lines{"w/0/0 a=1", "w/0/1 b=-2", "w/0/2 a=3"});
  CHECK(real_files().list(folder.path()) == Lines{"w.000000.seg"});
  log.close();
  CHECK_THROWS_AS(log.flush(), Error);
  CHECK_THROWS_AS(log.acquire(), Error);
}

TEST_CASE("a writer that logged nothing makes no file", "[log]") {
  const TemporaryFolder folder;
  { LogWriter log(folder.path() + "/new/folder", "w"); }
  CHECK(real_files().list(folder.path() + "/new/folder").empty());
  CHECK(read_log(real_files(), folder.path() + "/none")->rows == 0);
}

TEST_CASE("a writer's name is used once in a folder", "[log]") {
  const TemporaryFolder folder;
  LogWriter log(folder.path(), "w", options());
  log_int(*log.acquire(), "a", 1);
  CHECK_THROWS_AS(LogWriter(folder.path(), "w"), Error);
  CHECK_NOTHROW(LogWriter(folder.path(), "w2"));
  CHECK_THROWS_AS(LogWriter(folder.path(), "w/2"), Error);
}

TEST_CASE("a small ring makes the producer wait, loses nothing, and wraps its positions", "[log]") {
  const TemporaryFolder folder;
  LogOptions small = options(nullptr, 4096);
  small.ring_start = 0 - std::uint64_t{100'000};
  small.segment_bytes = 20'000;
  LogWriter log(folder.path(), "w", small);
  Producer& producer = *log.acquire();
  for (int i = 0; i < 50'000; ++i) log_int(producer, "a", i);
  log.flush();
  const LogStats stats = log.stats();
  CHECK(stats.records == 50'000);
  CHECK(stats.lost == 0);
  CHECK(stats.waits > 0);
  CHECK(stats.segments > 1);
  log.close();
  check_counted(*read_log(real_files(), folder.path()), 50'000);
}

TEST_CASE("threads log to rings of their own; the reader orders by time", "[log]") {
  const TemporaryFolder folder;
  LogWriter log(folder.path(), "w", options());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&log, t] {
      Producer* producer = log.acquire();
      for (int i = 0; i < 5000; ++i) log_int(*producer, "t" + std::to_string(t), i);
      log.release(producer);
    });
  for (auto& thread : threads) thread.join();
  log.close();
  const auto table = read_log(real_files(), folder.path());
  REQUIRE(table->rows == 20'000);
  CHECK(std::is_sorted(table->time.begin(), table->time.end()));
}

TEST_CASE("the producer of a thread that ended serves the next one", "[log]") {
  const TemporaryFolder folder;
  LogWriter log(folder.path(), "w", options());
  for (int t = 0; t < 50; ++t)
    std::thread([&log, t] {
      Producer* producer = log.acquire();
      log_int(*producer, "a", t);
      log.release(producer);
    }).join();
  CHECK(log.stats().rings == 1);
  CHECK(log.stats().memory_bytes == 65536 + 4096);
  log.close();
  check_counted(*read_log(real_files(), folder.path()), 50);
}

TEST_CASE("a reader sees a gapless prefix at any time while a writer runs", "[log]") {
  const TemporaryFolder folder;
  LogOptions small = options(nullptr, 4096);
  small.segment_bytes = 8192;
  LogWriter log(folder.path(), "w", small);
  // Each reading takes longer than the one before: beside a writer without end it would never end.
  constexpr std::int64_t kRecords = 20'000;
  std::atomic<std::int64_t> logged{0};
  std::thread thread([&] {
    Producer& producer = *log.acquire();
    for (std::int64_t i = 0; i < kRecords; ++i) {
      log_int(producer, "a", i);
      logged = i + 1;
    }
  });
  for (std::int64_t before = 0; before < kRecords;) {
    before = logged;
    const auto table = read_log(real_files(), folder.path());
    const std::int64_t after = logged;
    INFO("torn tails " << table->torn_tails << ", lost " << log.stats().lost << ", segments "
                       << log.stats().segments << ", rows " << table->rows << ", logged " << before
                       << " to " << after);
    REQUIRE(table->rows >= static_cast<std::size_t>(before));
    REQUIRE(table->rows <= static_cast<std::size_t>(after) + 1);
    check_counted(*table, static_cast<std::int64_t>(table->rows));
  }
  thread.join();
}

TEST_CASE(
    "a full disk: told, counted, nothing lost while the ring has room, on again when space returns",
    "[log]") {
  const TemporaryFolder folder;
  FullableFiles files;
  const bool stuck = GENERATE(false, true);
  LogWriter log(folder.path(), "w", options(&files, 4096));
  Producer& producer = *log.acquire();
  std::int64_t next = 0;
  for (; next < 10; ++next) log_int(producer, "a", next);
  log.flush();
  CHECK_FALSE(log.error());

  files.full = true;
  files.stuck = stuck;
  for (; next < 20; ++next) CHECK(log_int(producer, "a", next));
  try {
    log.flush();
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kFullDisk);
  }
  REQUIRE(log.error());
  CHECK(log.error()->kind() == ErrorKind::kFullDisk);
  while (log_int(producer, "a", next)) ++next;  // until the ring is full: it does not hang
  CHECK(log.stats().lost == 1);
  CHECK_FALSE(log_int(producer, "a", next + 1));
  CHECK(read_log(real_files(), folder.path())->rows == static_cast<std::size_t>(next));

  files.full = files.stuck = false;
  log.flush();
  CHECK(log.error());  // it stays
  CHECK(log_int(producer, "after", 1));
  log.close();
  const auto table = read_log(real_files(), folder.path());
  REQUIRE(table->rows == static_cast<std::size_t>(next) + 1);
  CHECK(table->seq.back() == next + 2);  // the gap tells of the two that were lost
  CHECK(table->torn_tails == (stuck ? 1 : 0));
  CHECK(table->dropped_blocks == 0);
}

TEST_CASE("a disk that is full from the start leaves no trail of empty segments", "[log]") {
  const TemporaryFolder folder;
  FullableFiles files;
  files.full = true;
  LogWriter log(folder.path(), "w", options(&files, 4096));
  log_int(*log.acquire(), "a", 0);
  for (int i = 0; i < 3; ++i) CHECK_THROWS_AS(log.flush(), Error);
  CHECK_THROWS_AS(log.close(), Error);
  CHECK(real_files().list(folder.path()) == Lines{"w.0.ring"});
  check_counted(*read_log(real_files(), folder.path()), 1);
}

TEST_CASE("a failed sync is told by flush", "[log]") {
  const TemporaryFolder folder;
  FullableFiles files;
  LogWriter log(folder.path(), "w", options(&files));
  log_int(*log.acquire(), "a", 0);
  files.sync_fails = true;
  CHECK_THROWS_AS(log.flush(), Error);
  files.sync_fails = false;
  CHECK_NOTHROW(log.flush());
  CHECK(log.error());
}

TEST_CASE("a payload above a quarter of the ring is refused, one below goes through", "[log]") {
  const TemporaryFolder folder;
  LogWriter log(folder.path(), "w", options(nullptr, 4096));
  Producer& producer = *log.acquire();
  std::uint32_t id = 0;
  REQUIRE(producer.name_id("a", id) == Producer::Outcome::kLogged);
  const std::string big(producer.max_payload_bytes(), 'x');
  CHECK(producer.max_payload_bytes() == 1024 - kFrameHeaderBytes);
  CHECK(producer.try_log(testing::kText, id, 0, as_bytes(big)) == Producer::Outcome::kLogged);
  CHECK(producer.try_log(testing::kText, id, 0, as_bytes(big + "x")) ==
        Producer::Outcome::kTooLarge);
  log.close();
  CHECK(lines(*read_log(real_files(), folder.path())) == Lines{"w/0/0 a=" + big});
}

// ThreadSanitizer can't follow a thread that is started in the forked child of a threaded process.
#if !defined(__SANITIZE_THREAD__)
TEST_CASE("in a forked child the inherited writer is inert, and a new one works", "[log][fork]") {
  const TemporaryFolder folder;
  LogWriter* log = new LogWriter(folder.path(), "parent", options());
  Producer& producer = *log->acquire();
  for (int i = 0; i < 10; ++i) log_int(producer, "a", i);
  const pid_t child = ::fork();
  if (child == 0) {
    bool ok = log->inherited() && !log->usable() && !log->error() && log->stats().records == 0;
    log->flush();
    log->close();
    try {
      log->acquire();
      ok = false;
    } catch (const Error& error) {
      ok = ok && error.kind() == ErrorKind::kClosed;
    }
    log->release(&producer);
    delete log;
    {
      LogWriter own(folder.path(), "child", options());
      log_int(*own.acquire(), "b", 7);
    }
    ::_exit(ok ? 0 : 1);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  log_int(producer, "a", 10);
  delete log;
  const auto table = read_log(real_files(), folder.path());
  REQUIRE(table->rows == 12);
  CHECK(testing::text_at(table->writers, 0) == "child");
  CHECK(testing::text_at(table->writers, 1) == "parent");
  CHECK(real_files().list(folder.path()) == Lines{"child.000000.seg", "parent.000000.seg"});
}
#endif

TEST_CASE("a process that ends without close leaves rings that are read", "[log][fork]") {
  const TemporaryFolder folder;
  const bool killed = GENERATE(false, true);
  const pid_t child = ::fork();
  if (child == 0) {
    auto* log = new LogWriter(folder.path(), "w", options());
    Producer& producer = *log->acquire();
    for (int i = 0; i < 5000; ++i) log_int(producer, "a", i);
    if (killed) ::raise(SIGKILL);
    ::_exit(0);
  }
  int status = -1;
  REQUIRE(::waitpid(child, &status, 0) == child);
  check_counted(*read_log(real_files(), folder.path()), 5000);
}

TEST_CASE("the background thread takes no signals", "[log]") {
  const TemporaryFolder folder;
  LogWriter log(folder.path(), "w", options());
  log_int(*log.acquire(), "a", 0);
  static std::atomic<int> elsewhere;
  static std::atomic<pthread_t> here;
  here = pthread_self();
  elsewhere = 0;
  const auto before =
      std::signal(SIGUSR1, [](int) { elsewhere += !pthread_equal(pthread_self(), here); });
  for (int i = 0; i < 50; ++i) ::kill(::getpid(), SIGUSR1);
  std::signal(SIGUSR1, before);
  CHECK(elsewhere == 0);
}

}  // namespace
}  // namespace flor
