// Byte spans and little-endian encoding. Everything on disk is little-endian, unaligned.
//
// Thread-safety: free functions without state; `ByteReader` and `ByteWriter` belong to one thread.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flor {

static_assert(std::endian::native == std::endian::little,
              "flor's formats are little-endian; a big-endian port must swap in load/store");

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;
using Buffer = std::vector<std::byte>;

inline Bytes as_bytes(std::string_view text) noexcept {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) noexcept {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Reads a T from `from`, which needs no alignment. REQUIRES: sizeof(T) readable bytes.
template <typename T>
T load(const std::byte* from) noexcept {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename T>
void store(std::byte* to, T value) noexcept {
  std::memcpy(to, &value, sizeof value);
}

// Appends plain values to a growing buffer.
class ByteWriter {
 public:
  ByteWriter() = default;
  // Writes into `reused`, whose old content is dropped and whose memory is kept.
  explicit ByteWriter(Buffer&& reused) : out_(std::move(reused)) { out_.clear(); }

  template <typename T>
  void put(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    const auto* raw = reinterpret_cast<const std::byte*>(&value);
    out_.insert(out_.end(), raw, raw + sizeof value);
  }
  void put_bytes(Bytes bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
  // u32 length, then the bytes.
  void put_sized(Bytes bytes) {
    put(static_cast<std::uint32_t>(bytes.size()));
    put_bytes(bytes);
  }
  std::size_t size() const noexcept { return out_.size(); }
  Bytes view() const noexcept { return out_; }
  Buffer take() && { return std::move(out_); }

 private:
  Buffer out_;
};

// Reads plain values from a span and never past its end: after a short read `ok()` is false and
// every further value is zero or empty, so a decoder checks once, at the end.
class ByteReader {
 public:
  explicit ByteReader(Bytes in) noexcept : in_(in) {}

  template <typename T>
  T get() noexcept {
    T value{};
    if (in_.size() - at_ < sizeof value) {
      fail();
      return value;
    }
    std::memcpy(&value, in_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  Bytes get_bytes(std::size_t count) noexcept {
    if (in_.size() - at_ < count) {
      fail();
      return {};
    }
    const Bytes out = in_.subspan(at_, count);
    at_ += count;
    return out;
  }
  Bytes get_sized() noexcept { return get_bytes(get<std::uint32_t>()); }

  bool ok() const noexcept { return ok_; }
  std::size_t position() const noexcept { return at_; }
  std::size_t remaining() const noexcept { return in_.size() - at_; }

 private:
  void fail() noexcept {
    ok_ = false;
    at_ = in_.size();
  }
  Bytes in_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

}  // namespace flor
