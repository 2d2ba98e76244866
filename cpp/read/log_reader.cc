#include "read/log_reader.h"

#include <algorithm>
#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "codec/codec.h"
#include "format/log_names.h"
#include "format/segment_header.h"
#include "read/log_merge.h"
#include "read/log_ring_copy.h"

namespace flor {
namespace {

bool all_zero(Bytes bytes) noexcept {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// The same error, with where it happened.
Error located(const Error& error, const std::string& path, std::size_t offset) {
  if (!error.path().empty()) return error;
  return {error.kind(),     error.message(), path, static_cast<std::int64_t>(offset),
          error.expected(), error.found()};
}

class Reader {
 public:
  Reader(FileSystem& files, const std::string& directory, LogReadOptions options)
      : files_(files),
        directory_(directory),
        options_(options),
        table_(std::make_shared<LogTable>()) {}

  std::shared_ptr<const LogTable> read() {
    copy_rings();
    list_segments();
    for (const Segment& segment : segments_) guarded([&] { read_segment(segment); });
    for (const auto& [writer, copy] : rings_) guarded([&] { read_ring(writer, copy); });
    merge();
    return table_;
  }

 private:
  struct Segment {
    std::string writer, path;
  };

  // Runs `body`; in tolerant mode a Corrupt error is one more thing that was dropped.
  template <typename Body>
  void guarded(Body body) {
    try {
      body();
    } catch (const Error& error) {
      if (!options_.tolerant || error.kind() != ErrorKind::kCorrupt) throw;
      ++table_->dropped_blocks;
    }
  }

  void list_segments() {
    std::map<std::string, std::vector<std::uint64_t>> numbers;  // by writer
    for (const std::string& name : files_.list(directory_)) {
      const auto parsed = parse_log_name(name);
      if (parsed && parsed->type == LogFileType::kSegment)
        numbers[parsed->writer].push_back(parsed->number);
    }
    for (auto& [writer, listed] : numbers) {
      // By number and not by name: the seventh digit would sort first.
      std::sort(listed.begin(), listed.end());
      std::uint64_t next = 0;
      for (const std::uint64_t number : listed) {
        add_unlisted(writer, next, number);
        add_segment(writer, number);
        next = number + 1;
      }
    }
  }

  void add_segment(const std::string& writer, std::uint64_t number) {
    segments_.push_back({writer, join_path(directory_, segment_name(writer, number))});
  }

  // Segments are numbered without gaps. A folder is not listed in one instant, so a segment made
  // meanwhile may be left out although a later one is there; otherwise a gap is a lost file.
  void add_unlisted(const std::string& writer, std::uint64_t begin, std::uint64_t end) {
    // More than a writer can make while a folder is listed.
    constexpr std::uint64_t kMostUnlisted = 10'000;
    if (end - begin > kMostUnlisted) return missing(writer, begin, end);
    for (std::uint64_t number = begin; number < end; ++number) {
      if (files_.exists(join_path(directory_, segment_name(writer, number))))
        add_segment(writer, number);
      else
        missing(writer, number, number + 1);
    }
  }

  void missing(const std::string& writer, std::uint64_t begin, std::uint64_t end) {
    if (!options_.tolerant)
      throw Error(ErrorKind::kCorrupt, "a log segment is missing",
                  join_path(directory_, segment_name(writer, begin)));
    table_->dropped_blocks += end - begin;
  }

  void copy_rings() {
    for (const std::string& name : files_.list(directory_)) {
      const auto parsed = parse_log_name(name);
      if (!parsed || parsed->type != LogFileType::kRing) continue;
      guarded([&] {
        auto copy = copy_ring(files_, join_path(directory_, name));
        if (!copy) return;
        check_writer(copy->header.writer, parsed->writer, copy->path);
        rings_.emplace_back(parsed->writer, std::move(*copy));
      });
    }
  }

  static void check_writer(const std::string& found, const std::string& expected,
                           const std::string& path) {
    if (found != expected)
      throw Error(ErrorKind::kCorrupt, "a log file was renamed or belongs elsewhere", path, 0,
                  "writer " + expected, "writer " + found);
  }

  LogStream& stream(const std::string& writer, std::uint32_t ring) {
    auto& stream = streams_[{writer, ring}];
    if (!stream) stream = std::make_unique<LogStream>(dictionary_, options_.tolerant);
    return *stream;
  }

  void read_ring(const std::string& writer, const RingCopy& copy) {
    LogStream& out = stream(writer, copy.header.ring_id);
    const Bytes bytes(copy.bytes);
    Frame frame;
    for (std::size_t at = 0; at < bytes.size(); at += frame.size) {
      const std::uint64_t position = copy.position + at;
      const auto offset = static_cast<std::size_t>(kRingHeaderBytes +
                                                   (position & (copy.header.capacity_bytes - 1)));
      const FrameStatus status = read_frame(bytes.subspan(at), position, frame);
      if (status != FrameStatus::kOk)
        throw Error(ErrorKind::kCorrupt, "a log ring is damaged", copy.path,
                    static_cast<std::int64_t>(offset), "a whole frame",
                    std::string(frame_status_text(status)));
      try {
        out.add_frame(frame);
      } catch (const Error& error) {
        throw located(error, copy.path, offset);
      }
    }
  }

  void read_segment(const Segment& segment) {
    std::shared_ptr<MappedFile> file;
    try {
      file = files_.map(segment.path);
    } catch (const Error& error) {
      // A writer removes a segment whose head did not fit on a full disk; nothing was in it.
      if (error.kind() == ErrorKind::kNotFound) return;
      throw;
    }
    const Bytes bytes = file->bytes();
    std::size_t at = 0;
    const auto header = read_segment_header(bytes, segment.path, &at);
    if (!header) {
      ++table_->torn_tails;
      return;
    }
    check_writer(header->writer, segment.writer, segment.path);
    while (at < bytes.size()) at = read_block(bytes, at, segment);
  }

  // Reads the block at `at` and returns where the next one begins.
  std::size_t read_block(Bytes file, std::size_t at, const Segment& segment) {
    const Bytes rest = file.subspan(at);
    const auto header = rest.size() < kBlockHeaderBytes
                            ? std::nullopt
                            : read_block_header(rest.first(kBlockHeaderBytes), at);
    const bool cut_in_head = rest.size() < kBlockHeaderBytes;
    const bool cut_in_payload = header && header->stored_bytes > rest.size() - kBlockHeaderBytes;
    if (cut_in_head || cut_in_payload || (!header && all_zero(rest))) {
      ++table_->torn_tails;
      return file.size();
    }
    std::size_t next = file.size();
    guarded([&] {
      if (!header) {
        if (const auto found = find_block(file, at + 1)) next = *found;
        throw Error(ErrorKind::kCorrupt, "a log segment is damaged", segment.path,
                    static_cast<std::int64_t>(at), "a block head", "bytes that are none");
      }
      next = at + kBlockHeaderBytes + header->stored_bytes;
      decode(*header, rest.subspan(kBlockHeaderBytes, header->stored_bytes), at, segment);
    });
    return next;
  }

  void decode(const BlockHeader& header, Bytes stored, std::size_t at, const Segment& segment) {
    const std::uint64_t found = checksum64(stored);
    if (found != header.payload_checksum)
      throw Error(ErrorKind::kCorrupt, "a log block has a wrong checksum", segment.path,
                  static_cast<std::int64_t>(at), std::to_string(header.payload_checksum),
                  std::to_string(found));
    try {
      Bytes raw = stored;
      if (header.codec != static_cast<std::uint32_t>(Codec::kNone)) {
        if (header.codec != static_cast<std::uint32_t>(Codec::kLz4))
          throw Error(ErrorKind::kCorrupt, "a log block has an unknown codec", {}, Error::kNoOffset,
                      "0 or 1", std::to_string(header.codec));
        raw_.resize(header.raw_bytes);
        flor::decode(Codec::kLz4, stored, raw_);
        raw = raw_;
      }
      decode_block(header, raw, scratch_, stream(segment.writer, header.ring_id));
    } catch (const Error& error) {
      throw located(error, segment.path, at);
    }
  }

  void merge() {
    std::vector<LogRing> rings;
    const std::string* writer = nullptr;
    for (auto& [key, stream] : streams_) {
      if (writer == nullptr || *writer != key.first) table_->writers.add(key.first);
      writer = &key.first;
      rings.push_back({static_cast<std::int32_t>(table_->writers.size() - 1),
                       static_cast<std::int32_t>(key.second), std::move(stream)});
    }
    merge_rings(rings, dictionary_, *table_);
  }

  FileSystem& files_;
  const std::string& directory_;
  const LogReadOptions options_;
  std::shared_ptr<LogTable> table_;
  std::vector<std::pair<std::string, RingCopy>> rings_;
  std::vector<Segment> segments_;
  std::map<std::pair<std::string, std::uint32_t>, std::unique_ptr<LogStream>> streams_;
  LogDictionary dictionary_;
  RecordColumns scratch_;
  Buffer raw_;
};

}  // namespace

std::shared_ptr<const LogTable> read_log(FileSystem& files, const std::string& directory,
                                         LogReadOptions options) {
  return Reader(files, directory, options).read();
}

}  // namespace flor
