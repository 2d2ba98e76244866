#include "codec/plane_list.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string>

#include "base/error.h"
#include "codec/rans.h"

namespace flor {
namespace {

enum class PlaneKind : std::uint8_t { kRaw = 0, kConstant = 1, kCoded = 2 };

[[noreturn]] void throw_corrupt(const char* what) {
  throw Error(ErrorKind::kCorrupt, std::string("bytes are not a valid planes encoding: ") + what);
}

constexpr std::size_t kSampleRuns = 16, kSampleRunBytes = 64;

// count * log2(count), for samples of up to kMaxSampleSymbols symbols.
const std::array<float, kMaxSampleSymbols + 1>& weighted_log2() {
  static const std::array<float, kMaxSampleSymbols + 1> table = [] {
    std::array<float, kMaxSampleSymbols + 1> out{};
    for (std::size_t n = 1; n <= kMaxSampleSymbols; ++n)
      out[n] = static_cast<float>(static_cast<double>(n) * std::log2(static_cast<double>(n)));
    return out;
  }();
  return table;
}

bool sample_pays(std::span<const std::uint8_t> plane) {
  if (plane.size() <= kSampleRuns * kSampleRunBytes) return true;
  std::array<std::uint8_t, kSampleRuns * kSampleRunBytes> sample;
  const std::size_t step = (plane.size() - kSampleRunBytes) / (kSampleRuns - 1);
  for (std::size_t i = 0; i < kSampleRuns; ++i)
    std::memcpy(sample.data() + i * kSampleRunBytes, plane.data() + i * step, kSampleRunBytes);
  return sample_bits(sample) < (1 - kLeastPlaneSaving) * 8 * sample.size();
}

struct Plane {
  PlaneKind kind = PlaneKind::kRaw;
  std::span<const std::uint8_t> symbols;
  Frequencies frequencies;
};

Plane plan(std::span<const std::uint8_t> symbols) {
  Plane plane{PlaneKind::kRaw, symbols, {}};
  if (symbols.empty() || !sample_pays(symbols)) return plane;
  const Histogram counts = histogram(symbols);
  if (counts[symbols[0]] == symbols.size()) {
    plane.kind = PlaneKind::kConstant;
    return plane;
  }
  plane.frequencies = Frequencies::fit(counts);
  const double table_bytes =
      1.5 * static_cast<double>(256 - std::count(counts.begin(), counts.end(), 0));
  const double cost = plane.frequencies.cost_bytes(counts) + table_bytes;
  if (cost < (1 - kLeastPlaneSaving) * static_cast<double>(symbols.size()))
    plane.kind = PlaneKind::kCoded;
  return plane;
}

}  // namespace

// Bits that a sample's symbols take by their own frequencies. A sample misses rare symbols, so
// noise looks like structure: each symbol seen adds half a symbol's worth (Miller 1955).
double sample_bits(std::span<const std::uint8_t> sample) {
  const Histogram counts = histogram(sample);
  const auto& table = weighted_log2();
  float sum = 0;
  std::size_t seen = 0;
  for (const std::uint32_t count : counts) {
    sum += table[count];
    seen += count != 0;
  }
  if (seen < 2) return 0;
  // Noise looks like structure in a sample: each symbol seen adds half a symbol's worth (Miller
  // 1955).
  const double bits = table[sample.size()] - sum + static_cast<double>(seen - 1) * 0.7213;
  return std::min(bits, 8.0 * static_cast<double>(sample.size()));
}

void write_planes(const Kernels& kernels, std::span<const std::span<const std::uint8_t>> planes,
                  ByteWriter& out) {
  std::array<Plane, kMaxPlanes> plans;
  std::array<RansPlane, kMaxPlanes> coded;
  std::size_t coded_count = 0;
  for (std::size_t p = 0; p < planes.size(); ++p) {
    plans[p] = plan(planes[p]);
    out.put(static_cast<std::uint8_t>(plans[p].kind));
    if (plans[p].kind == PlaneKind::kConstant) out.put(planes[p][0]);
    if (plans[p].kind != PlaneKind::kCoded) continue;
    put_frequencies(out, plans[p].frequencies);
    coded[coded_count++] = {&plans[p].frequencies, planes[p]};
  }
  if (coded_count > 0) rans_encode(kernels, {coded.data(), coded_count}, out);
  for (std::size_t p = 0; p < planes.size(); ++p)
    if (plans[p].kind == PlaneKind::kRaw) out.put_bytes(std::as_bytes(planes[p]));
}

void read_planes(const Kernels& kernels, std::span<const std::span<std::uint8_t>> rooms,
                 ByteReader& in, std::span<const std::uint8_t*> planes) {
  std::array<Frequencies, kMaxPlanes> frequencies;
  std::array<RansPlaneOut, kMaxPlanes> coded;
  std::size_t coded_count = 0;
  for (std::size_t p = 0; p < rooms.size(); ++p) {
    const auto kind = static_cast<PlaneKind>(in.get<std::uint8_t>());
    planes[p] = kind == PlaneKind::kRaw ? nullptr : rooms[p].data();
    if (kind == PlaneKind::kConstant) {
      std::fill(rooms[p].begin(), rooms[p].end(), in.get<std::uint8_t>());
    } else if (kind == PlaneKind::kCoded) {
      frequencies[p] = get_frequencies(in);
      coded[coded_count++] = {&frequencies[p], rooms[p]};
    } else if (kind != PlaneKind::kRaw) {
      throw_corrupt("a plane is of an unknown kind");
    }
  }
  if (coded_count > 0) rans_decode(kernels, {coded.data(), coded_count}, in);
  for (std::size_t p = 0; p < rooms.size(); ++p)
    if (planes[p] == nullptr)
      planes[p] = reinterpret_cast<const std::uint8_t*>(in.get_bytes(rooms[p].size()).data());
  if (!in.ok()) throw_corrupt("it is cut");
}

}  // namespace flor
