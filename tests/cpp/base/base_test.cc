#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hash.h"
#include "faulty_files.h"

using namespace flor;

namespace {
std::string scratch() {
  const auto folder =
      std::filesystem::temp_directory_path() / ("flor-base-" + std::to_string(::getpid()));
  std::filesystem::create_directories(folder);
  return folder.string();
}
}  // namespace

TEST_CASE("a reader never runs past its end") {
  ByteWriter out;
  out.put<std::uint32_t>(7);
  out.put_sized(as_bytes("abc"));
  ByteReader in(out.view());
  CHECK(in.get<std::uint32_t>() == 7);
  CHECK(as_text(in.get_sized()) == "abc");
  CHECK(in.ok());
  CHECK(in.get<std::uint64_t>() == 0);
  CHECK_FALSE(in.ok());
}

TEST_CASE("a length beyond the end fails instead of reading") {
  ByteWriter out;
  out.put<std::uint32_t>(1'000'000);
  ByteReader in(out.view());
  CHECK(in.get_sized().empty());
  CHECK_FALSE(in.ok());
}

TEST_CASE("hashes are those of the format document") {
  CHECK(checksum64(as_bytes("flor")) == checksum64(as_bytes("flor")));
  CHECK(checksum64(as_bytes("flor")) != checksum64(as_bytes("flor"), 1));
  CHECK(to_hex(hash128(as_bytes(""))) ==
        "99aa06d3014798d86001c324468d497f");  // XXH3-128 of nothing
}

TEST_CASE("an error names path, offset, expected and found") {
  const Error error(ErrorKind::kCorrupt, "bad chunk", "/x/a.pack", 64, "1f", "2e");
  CHECK(std::string(error.what()) == "bad chunk: /x/a.pack at byte 64 (expected 1f, found 2e)");
  CHECK(system_error("can't write", "/x", ENOSPC).kind() == ErrorKind::kFullDisk);
  CHECK(system_error("can't write", "/x", EROFS).kind() == ErrorKind::kReadOnly);
}

TEST_CASE("append, map and atomic replacement on real files") {
  auto& files = real_files();
  const std::string folder = scratch(), path = join_path(folder, "a");
  files.remove(path);
  {
    const auto file = files.create(path);
    file->append(as_bytes("hello"));
    file->sync();
    CHECK(file->size() == 5);
  }
  const auto old = files.map(path);
  files.write_atomically(path, as_bytes("new"));
  CHECK(as_text(old->bytes()) == "hello");  // an open mapping keeps what it saw
  CHECK(as_text(files.map(path)->bytes()) == "new");
  CHECK(files.list(folder) == std::vector<std::string>{"a"});
  std::filesystem::remove_all(folder);
}

TEST_CASE("a failed atomic write leaves the old file and no temporary") {
  testing::FaultyFiles files;
  files.write_atomically("/s/m", as_bytes("old"));
  files.space_bytes = 2;
  CHECK_THROWS_AS(files.write_atomically("/s/m", as_bytes("newer")), Error);
  CHECK(as_text(files.map("/s/m")->bytes()) == "old");
  CHECK(files.list("/s") == std::vector<std::string>{"m"});
}

TEST_CASE("times of one process never step back") {
  std::int64_t last = unix_ns();
  for (int i = 0; i < 1000; ++i) {
    const std::int64_t now = unix_ns();
    CHECK(now >= last);
    last = now;
  }
}
