// Feature maps in fewer values: a mean or a maximum for each cell of side × side, after M. Vartak
// et al., "MISTIQUE" (SIGMOD 2018), section 4.1.
//
// Thread-safety: free functions without state.
#pragma once

#include <cstddef>
#include <span>

namespace flor {

struct MapShape {
  std::size_t high = 0, wide = 0;
};
// Cells of the last row or column may be smaller.
constexpr MapShape pooled_shape(MapShape map, std::size_t side) noexcept {
  return {(map.high + side - 1) / side, (map.wide + side - 1) / side};
}

// Pools maps that lie one behind the other. Returns the largest |x - value of its cell| over
// numbers that are finite, as floats see it. Throws kInvalid when lengths do not fit or side is 0.
float pool_maps(std::span<const float> maps, MapShape map, std::size_t side, bool largest,
                std::span<float> out);

}  // namespace flor
