#include "codec/block.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"

namespace flor {
namespace {

// The columns from `begin` on of every row, one behind the other.
void gather(std::span<const float> block, std::size_t row, std::size_t begin, std::size_t width,
            std::span<float> out) {
  const float* from = block.data() + begin;
  for (float* to = out.data(); to != out.data() + out.size(); to += width, from += row)
    std::memcpy(to, from, width * sizeof(float));
}

BlockPart summary(std::span<const ValueStats> stats) {
  BlockPart part;
  part.low = std::numeric_limits<float>::infinity();
  part.high = -part.low;
  for (const ValueStats& one : stats) {
    part.low = std::min(part.low, one.low);
    part.high = std::max(part.high, one.high);
    part.zeros += one.zeros;
    part.odd += one.odd;
  }
  return part;
}

}  // namespace

std::size_t block_bound(std::size_t rows, std::span<const std::uint32_t> widths) noexcept {
  std::size_t bytes = 0;
  for (const std::size_t width : widths)
    bytes += std::max(rows * width * sizeof(float), affine_bytes(rows * width, width));
  return bytes;
}

std::size_t encode_block(std::span<const float> block, std::size_t rows,
                         std::span<const std::uint32_t> widths, bool by_column, ValueCode code,
                         MutableBytes out, std::vector<BlockPart>& parts) {
  const std::size_t row = std::accumulate(widths.begin(), widths.end(), std::size_t{0});
  if (block.size() != rows * row || out.size() < block_bound(rows, widths) ||
      std::count(widths.begin(), widths.end(), 0U) != 0)
    throw Error(ErrorKind::kInvalid, "a block does not fit its parts or the room");
  std::vector<float> values;
  std::size_t begin = 0, used = 0;
  parts.clear();
  for (const std::size_t width : widths) {
    values.resize(rows * width);
    gather(block, row, begin, width, values);
    begin += width;
    const std::size_t channels = by_column ? width : 1;
    const std::vector<ValueStats> stats = value_stats(values, channels);
    BlockPart part = summary(stats);
    part.start = used;
    part.length = affine_bytes(values.size(), channels);
    part.code = static_cast<std::uint32_t>(code);
    const bool gains = code == ValueCode::kAffine && part.length < values.size() * sizeof(float);
    if (gains) part.error = affine_encode(values, stats, out.subspan(used, part.length));
    if (!gains || !std::isfinite(part.error)) {
      part.code = static_cast<std::uint32_t>(ValueCode::kExact);
      part.error = 0;
      part.length = values.size() * sizeof(float);
      if (!values.empty()) std::memcpy(out.data() + used, values.data(), part.length);
    }
    used += part.length;
    parts.push_back(part);
  }
  return used;
}

}  // namespace flor
