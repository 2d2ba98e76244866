#include "codec/pool.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"

namespace flor {
namespace {

// Rows of maps that share the cells of one row of cells. The loops below run along the columns,
// without branches and without a running total, so that compilers make vectors of them.
struct Band {
  const float* at;
  std::size_t high, wide, side;
};

// What is kept for each column of a band.
struct Columns {
  std::vector<float> folded, value, worst, odd;
  explicit Columns(std::size_t wide) : folded(wide), value(wide), worst(wide), odd(wide) {}
};

// Not a number stays so, as it does in a sum.
float larger(float one, float other) { return (one <= other) | (other != other) ? other : one; }

void fold(const Band& band, bool largest, float* folded) {
  std::copy_n(band.at, band.wide, folded);
  for (std::size_t y = 1; y < band.high; ++y) {
    const float* row = band.at + y * band.wide;
    if (largest)
      for (std::size_t x = 0; x < band.wide; ++x) folded[x] = larger(row[x], folded[x]);
    else
      for (std::size_t x = 0; x < band.wide; ++x) folded[x] += row[x];
  }
}

float value_of(const float* folded, std::size_t count, std::size_t high, bool largest) {
  float value = folded[0];
  for (std::size_t x = 1; x < count; ++x)
    value = largest ? larger(folded[x], value) : value + folded[x];
  return largest ? value : value / static_cast<float>(count * high);
}

// The error of a band with numbers that are none, or whose sum is none.
float farthest(const Band& band, const float* value) {
  float most = 0;
  for (std::size_t y = 0; y < band.high; ++y)
    for (std::size_t x = 0; x < band.wide; ++x) {
      const float one = band.at[y * band.wide + x], off = std::fabs(one - value[x]);
      // A finite number in a cell that became none is infinitely far from it.
      if (std::isfinite(one)) most = std::max(most, std::isnan(off) ? HUGE_VALF : off);
    }
  return most;
}

float error_of(const Band& band, Columns& columns) {
  float *worst = columns.worst.data(), *odd = columns.odd.data();
  const float* value = columns.value.data();
  std::fill_n(worst, band.wide, 0.0F);
  for (std::size_t x = 0; x < band.wide; ++x) odd[x] = value[x] - value[x];
  for (std::size_t y = 0; y < band.high; ++y) {
    const float* row = band.at + y * band.wide;
    for (std::size_t x = 0; x < band.wide; ++x) {
      const float off = std::fabs(row[x] - value[x]);
      worst[x] = off > worst[x] ? off : worst[x];
      odd[x] += row[x] - row[x];  // 0, or not a number
    }
  }
  float most = 0, finite = 0;
  for (std::size_t x = 0; x < band.wide; ++x) {
    most = std::max(most, worst[x]);
    finite += odd[x];
  }
  return finite == 0 ? most : farthest(band, value);
}

// Cells of two columns, the usual ones, in a loop that has no loop inside.
void pairs(const Band& band, bool largest, Columns& columns, float* out) {
  const float* folded = columns.folded.data();
  float* value = columns.value.data();
  const auto count = static_cast<float>(2 * band.high);
  for (std::size_t x = 0; x < band.wide / 2; ++x) {
    const float one = folded[2 * x], other = folded[2 * x + 1];
    const float cell = largest ? larger(other, one) : (one + other) / count;
    out[x] = value[2 * x] = value[2 * x + 1] = cell;
  }
}

// Fills the cells of a band; returns its error.
float pool_band(const Band& band, bool largest, Columns& columns, float* out) {
  fold(band, largest, columns.folded.data());
  std::size_t x = 0;
  if (band.side == 2) {
    pairs(band, largest, columns, out);
    x = band.wide / 2 * 2;
    out += band.wide / 2;
  }
  for (; x < band.wide; x += band.side) {
    const std::size_t count = std::min(band.side, band.wide - x);
    *out = value_of(columns.folded.data() + x, count, band.high, largest);
    std::fill_n(columns.value.data() + x, count, *out++);
  }
  return error_of(band, columns);
}

}  // namespace

float pool_maps(std::span<const float> maps, MapShape map, std::size_t side, bool largest,
                std::span<float> out) {
  const MapShape small = side == 0 ? MapShape{} : pooled_shape(map, side);
  const std::size_t cells = small.high * small.wide, values = map.high * map.wide;
  if (cells == 0 || maps.size() % values != 0 || out.size() != maps.size() / values * cells)
    throw Error(ErrorKind::kInvalid, "pooling: the maps do not fit their shape or the room");
  Columns columns(map.wide);
  float error = 0;
  float* next = out.data();
  for (const float* at = maps.data(); at != maps.data() + maps.size(); at += values)
    for (std::size_t y = 0; y < map.high; y += side, next += small.wide) {
      const Band band{at + y * map.wide, std::min(side, map.high - y), map.wide, side};
      error = std::max(error, pool_band(band, largest, columns, next));
    }
  return error;
}

}  // namespace flor
