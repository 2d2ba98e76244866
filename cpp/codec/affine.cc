#include "codec/affine.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"

namespace flor {
namespace {

// A single channel is treated as so many equal ones side by side.
constexpr std::size_t kSide = 256;

// The parameters of each channel, or of kSide equal ones.
struct Parameters {
  std::vector<float> offset, step, zero;
  explicit Parameters(std::size_t count) : offset(count), step(count), zero(count) {}
};

constexpr std::size_t side_of(std::size_t channels) noexcept {
  return channels == 1 ? kSide : channels;
}

// Calls use(first value, rows, width) for the whole rows of `side` and for what is left of one.
template <typename Use>
void in_rows(std::size_t count, std::size_t side, Use&& use) {
  const std::size_t rows = count / side, left = count % side;
  if (rows != 0) use(std::size_t{0}, rows, side);
  if (left != 0) use(rows * side, std::size_t{1}, left);
}

// Not a number when a channel can't be kept so.
float step_of(const ValueStats& stats) {
  const float none = std::numeric_limits<float>::quiet_NaN();
  if (!stats.finite) return none;
  if (stats.high == stats.low) return 1;
  const float step = (stats.high - stats.low) / 255;
  return std::isnormal(step) && std::isfinite(255 * step) ? step : none;
}

}  // namespace

std::vector<ValueStats> value_stats(std::span<const float> values, std::size_t channels,
                                    const Kernels& kernels) {
  constexpr float kMost = std::numeric_limits<float>::infinity();
  const std::size_t side = side_of(channels);
  std::vector<float> low(side, kMost), high(side, -kMost), odd(side, 0);
  std::vector<std::uint32_t> zeros(side, 0);
  in_rows(values.size(), side, [&](std::size_t at, std::size_t rows, std::size_t width) {
    kernels.range(values.data() + at, rows, width, low.data(), high.data(), zeros.data(),
                  odd.data());
  });
  std::vector<ValueStats> out(channels, {kMost, -kMost});
  for (std::size_t i = 0; i < side; ++i) {
    ValueStats& one = out[channels == 1 ? 0 : i];
    one.low = std::min(one.low, low[i]);
    one.high = std::max(one.high, high[i]);
    one.zeros += zeros[i];
    one.finite = one.finite && odd[i] == 0;
  }
  for (std::size_t c = 0; c < channels; ++c)
    if (!out[c].finite)
      for (std::size_t i = c; i < values.size(); i += channels)
        out[c].odd += std::isnan(values[i]) ? 1 : 0;
  return out;
}

float affine_encode(std::span<const float> values, std::span<const ValueStats> stats,
                    MutableBytes out, const Kernels& kernels) {
  const std::size_t channels = stats.size(), side = side_of(channels);
  if (channels == 0 || values.size() % channels != 0 ||
      out.size() != affine_bytes(values.size(), channels))
    throw Error(ErrorKind::kInvalid, "affine: the values do not fit their channels or the room");
  Parameters used(side);
  for (std::size_t i = 0; i < side; ++i) {
    const ValueStats& one = stats[channels == 1 ? 0 : i];
    const float step = step_of(one);
    if (std::isnan(step)) return step;
    const bool spans = one.low <= 0 && one.high >= 0;
    used.offset[i] = spans ? 0 : one.low;
    used.step[i] = step;
    used.zero[i] = spans ? std::nearbyint(-one.low / step) : 0;
  }
  std::byte* head = out.data();
  for (const auto* list : {&used.offset, &used.step})
    for (std::size_t c = 0; c < channels; ++c, head += sizeof(float)) store(head, (*list)[c]);
  for (std::size_t c = 0; c < channels; ++c) store(head++, static_cast<std::uint8_t>(used.zero[c]));
  auto* const codes = reinterpret_cast<std::uint8_t*>(head);
  std::vector<float> error(side, 0);
  in_rows(values.size(), side, [&](std::size_t at, std::size_t rows, std::size_t width) {
    kernels.affine_encode(values.data() + at, rows, width, used.offset.data(), used.step.data(),
                          used.zero.data(), codes + at, error.data());
  });
  return *std::max_element(error.begin(), error.end());
}

void affine_decode(Bytes in, std::size_t channels, std::size_t rows, std::size_t width, float* out,
                   std::size_t stride, const Kernels& kernels) {
  if (channels == 0 || (channels != 1 && channels != width) ||
      in.size() != affine_bytes(rows * width, channels))
    throw Error(ErrorKind::kCorrupt, "bytes are not an affine encoding", {}, Error::kNoOffset,
                std::to_string(affine_bytes(rows * width, channels)) + " bytes",
                std::to_string(in.size()));
  // A single channel whose rows lie one behind the other is one run of values.
  const bool run = channels == 1 && (stride == width || rows == 1);
  const std::size_t side = run ? kSide : width;
  Parameters used(side);
  for (std::size_t i = 0; i < side; ++i) {
    const std::size_t c = channels == 1 ? 0 : i;
    used.offset[i] = load<float>(in.data() + sizeof(float) * c);
    used.step[i] = load<float>(in.data() + sizeof(float) * (channels + c));
    used.zero[i] = load<std::uint8_t>(in.data() + 2 * sizeof(float) * channels + c);
  }
  const auto* const codes = reinterpret_cast<const std::uint8_t*>(in.data()) + 9 * channels;
  const auto decode = [&](std::size_t at, std::size_t some, std::size_t wide, std::size_t apart) {
    kernels.affine_decode(codes + at, some, wide, used.offset.data(), used.step.data(),
                          used.zero.data(), out + at, apart);
  };
  if (!run) return decode(0, rows, width, stride);
  in_rows(rows * width, side, [&](std::size_t at, std::size_t some, std::size_t wide) {
    decode(at, some, wide, wide);
  });
}

}  // namespace flor
