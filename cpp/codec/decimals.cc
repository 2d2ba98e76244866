#include "codec/decimals.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace flor {
namespace {

constexpr double kPowers[kMostPlaces + 1] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8};
// Integers up to here are doubles themselves.
constexpr double kMostInteger = 9007199254740992.0;
constexpr std::size_t kSample = 512;

template <typename F>
F value_of(std::int64_t integer, unsigned places) {
  return static_cast<F>(static_cast<double>(integer) / kPowers[places]);
}

// The integer that gives back the very bits of `value`.
template <typename F>
std::optional<std::int64_t> integer_of(F value, unsigned places) {
  const double product = static_cast<double>(value) * kPowers[places];
  if (!(std::fabs(product) < kMostInteger)) return std::nullopt;
  const std::int64_t integer = std::llround(product);
  const F back = value_of<F>(integer, places);
  if (std::memcmp(&back, &value, sizeof value) != 0) return std::nullopt;
  return integer;
}

template <typename F>
std::optional<unsigned> places_of(Bytes in) {
  const std::size_t count = in.size() / sizeof(F), step = std::max<std::size_t>(1, count / kSample);
  for (unsigned places = 0; places <= kMostPlaces; ++places) {
    std::size_t finite = 0, fits = 0;
    for (std::size_t i = 0; i < count; i += step) {
      const F value = load<F>(in.data() + i * sizeof(F));
      finite += std::isfinite(value) ? 1 : 0;
      fits += integer_of(value, places) ? 1 : 0;
    }
    if (finite != 0 && fits * 20 >= finite * 19) return places;
  }
  return std::nullopt;
}

template <typename F>
std::optional<Decimals> find(Bytes in) {
  const auto places = places_of<F>(in);
  if (!places) return std::nullopt;
  const std::size_t count = in.size() / sizeof(F);
  Decimals out;
  out.places = *places;
  out.integers.resize(count);
  out.mask.resize((count + 7) / 8);
  std::optional<std::int64_t> before;
  for (std::size_t i = 0; i < count; ++i) {
    const std::byte* const at = in.data() + i * sizeof(F);
    if (const auto integer = integer_of(load<F>(at), *places)) {
      if (!before) std::fill_n(out.integers.begin(), i, *integer);
      before = integer;
    } else {
      out.mask[i / 8] |= std::byte{1} << (i % 8);
      out.odd.insert(out.odd.end(), at, at + sizeof(F));
      ++out.odd_count;
    }
    out.integers[i] = before.value_or(0);
  }
  return out;
}

template <typename F>
void put(const Decimals& decimals, MutableBytes out) {
  std::size_t next = 0;
  for (std::size_t i = 0; i < decimals.integers.size(); ++i) {
    std::byte* const to = out.data() + i * sizeof(F);
    const bool odd =
        decimals.odd_count != 0 && (decimals.mask[i / 8] >> (i % 8) & std::byte{1}) != std::byte{0};
    if (!odd) {
      store(to, value_of<F>(decimals.integers[i], decimals.places));
    } else if (next + sizeof(F) <= decimals.odd.size()) {
      std::memcpy(to, decimals.odd.data() + next, sizeof(F));
      next += sizeof(F);
    } else {
      throw Error(ErrorKind::kCorrupt, "bytes are not valid decimals: the mask does not fit");
    }
  }
}

}  // namespace

std::optional<Decimals> find_decimals(Bytes floats, unsigned width) {
  return width == sizeof(double) ? find<double>(floats) : find<float>(floats);
}

void put_decimals(const Decimals& decimals, unsigned width, MutableBytes out) {
  if (width == sizeof(double)) return put<double>(decimals, out);
  put<float>(decimals, out);
}

}  // namespace flor
