// Made-up content and small helpers for the tests of packs, stores and checkpoints.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "base/bytes.h"
#include "base/error.h"

namespace flor::testing {

// Bytes that no codec shortens, the same for the same seed.
inline Buffer noise(std::size_t count, std::uint64_t seed) {
  Buffer out(count);
  std::uint64_t state = seed * 0x9E3779B97F4A7C15ULL + 1;
  for (auto& byte : out) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    byte = static_cast<std::byte>(state >> 32);
  }
  return out;
}

// Bytes that compress well.
inline Buffer text(std::size_t count, std::uint64_t seed) {
  Buffer out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = static_cast<std::byte>((i / 64 + seed) % 50);
  return out;
}

// The kind of error that `call` throws; nothing when it returns.
inline std::optional<ErrorKind> failure(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  return std::nullopt;
}

}  // namespace flor::testing
