// Floats that are decimals with few places, as integers: 12.34 is 1234 / 10^2. After Afroozeh et
// al., "ALP: Adaptive Lossless floating-Point Compression" (SIGMOD 2024), section 3.
//
// Thread-safety: free functions and values.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"

namespace flor {

inline constexpr unsigned kMostPlaces = 8;

// Values that are integers / 10^places to the bit. Others (not numbers, irrational ones) repeat the
// integer before them, and their bytes are apart.
struct Decimals {
  unsigned places = 0;
  std::vector<std::int64_t> integers;
  std::uint32_t odd_count = 0;
  Buffer mask;  // bit i mod 8 of byte i / 8: value i is odd
  Buffer odd;   // its bytes
};

// Of floats of `width` bytes, 4 or 8. Nothing when by a sample fewer than 19 in 20 of the finite
// ones are decimals.
std::optional<Decimals> find_decimals(Bytes floats, unsigned width);

// Fills `out` with floats of `width` bytes. Throws kCorrupt when the mask does not fit.
void put_decimals(const Decimals& decimals, unsigned width, MutableBytes out);

}  // namespace flor
