#include "codec/pool.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace flor {
namespace {

// One cell: `high` rows of `wide` values, `stride` apart.
struct Cell {
  const float* at;
  std::size_t high, wide, stride;
};

float value_of(const Cell& cell, bool largest) {
  float most = cell.at[0], sum = 0;
  for (std::size_t y = 0; y < cell.high; ++y)
    for (std::size_t x = 0; x < cell.wide; ++x) {
      const float value = cell.at[y * cell.stride + x];
      // Not a number stays so, as it does in a sum.
      most = value > most || std::isnan(value) ? value : most;
      sum += value;
    }
  return largest ? most : sum / static_cast<float>(cell.high * cell.wide);
}

float farthest(const Cell& cell, float value) {
  float most = 0;
  for (std::size_t y = 0; y < cell.high; ++y)
    for (std::size_t x = 0; x < cell.wide; ++x) {
      const float one = cell.at[y * cell.stride + x], off = std::fabs(one - value);
      // A finite number in a cell that became none is infinitely far from it.
      if (std::isfinite(one)) most = std::max(most, std::isnan(off) ? HUGE_VALF : off);
    }
  return most;
}

}  // namespace

float pool_maps(std::span<const float> maps, MapShape map, std::size_t side, bool largest,
                std::span<float> out) {
  const MapShape small = side == 0 ? MapShape{} : pooled_shape(map, side);
  const std::size_t cells = small.high * small.wide, values = map.high * map.wide;
  if (cells == 0 || maps.size() % values != 0 || out.size() != maps.size() / values * cells)
    throw Error(ErrorKind::kInvalid, "pooling: the maps do not fit their shape or the room");
  float error = 0;
  std::size_t next = 0;
  for (const float* at = maps.data(); next < out.size(); at += values)
    for (std::size_t y = 0; y < map.high; y += side)
      for (std::size_t x = 0; x < map.wide; x += side) {
        const Cell cell{at + y * map.wide + x, std::min(side, map.high - y),
                        std::min(side, map.wide - x), map.wide};
        out[next] = value_of(cell, largest);
        error = std::max(error, farthest(cell, out[next]));
        ++next;
      }
  return error;
}

}  // namespace flor
