#include "codec/planes.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <string>

#include "base/error.h"
#include "codec/rans.h"

namespace flor {
namespace {

constexpr std::size_t kMaxWidth = 8;
enum class PlaneKind : std::uint8_t { kRaw = 0, kConstant = 1, kCoded = 2 };

// A coded plane must save this share of itself: less is not worth its time on every read.
constexpr double kLeastSaving = 0.02;
// States, kinds and tables of a small block, roughly.
constexpr double kOverheadBytes = 250;
constexpr std::size_t kSampleRuns = 16, kSampleRunBytes = 64;

const std::uint8_t* u8(Bytes bytes) { return reinterpret_cast<const std::uint8_t*>(bytes.data()); }
std::uint8_t* u8(MutableBytes bytes) { return reinterpret_cast<std::uint8_t*>(bytes.data()); }
Bytes bytes_of(std::span<const std::uint8_t> symbols) {
  return {reinterpret_cast<const std::byte*>(symbols.data()), symbols.size()};
}

[[noreturn]] void throw_corrupt(const char* what) {
  throw Error(ErrorKind::kCorrupt, std::string("bytes are not a valid planes encoding: ") + what);
}

// count * log2(count), for samples of up to kMaxSample symbols.
constexpr std::size_t kMaxSample = 4096;
const std::array<float, kMaxSample + 1>& weighted_log2() {
  static const std::array<float, kMaxSample + 1> table = [] {
    std::array<float, kMaxSample + 1> out{};
    for (std::size_t n = 1; n <= kMaxSample; ++n)
      out[n] = static_cast<float>(static_cast<double>(n) * std::log2(static_cast<double>(n)));
    return out;
  }();
  return table;
}

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
  const double bits = table[sample.size()] - sum + static_cast<double>(seen - 1) * 0.7213;
  return std::min(bits, 8.0 * static_cast<double>(sample.size()));
}

bool sample_pays(std::span<const std::uint8_t> plane) {
  if (plane.size() <= kSampleRuns * kSampleRunBytes) return true;
  std::array<std::uint8_t, kSampleRuns * kSampleRunBytes> sample;
  const std::size_t step = (plane.size() - kSampleRunBytes) / (kSampleRuns - 1);
  for (std::size_t i = 0; i < kSampleRuns; ++i)
    std::memcpy(sample.data() + i * kSampleRunBytes, plane.data() + i * step, kSampleRunBytes);
  return sample_bits(sample) < (1 - kLeastSaving) * 8 * sample.size();
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
  if (cost < (1 - kLeastSaving) * static_cast<double>(symbols.size()))
    plane.kind = PlaneKind::kCoded;
  return plane;
}

void check_base(PlaneLayout layout, std::size_t size, Bytes base, ErrorKind kind) {
  if (base.size() == (needs_base(layout.transform) ? size : 0)) return;
  throw Error(kind, needs_base(layout.transform)
                        ? "a difference needs a base of the same length"
                        : "a base was given for an encoding that has none");
}

bool is_valid(PlaneLayout layout) {
  return std::has_single_bit(layout.width) && layout.width <= kMaxWidth &&
         static_cast<std::uint8_t>(layout.transform) < kTransforms;
}

// Runs of whole 8-byte words spread over the bytes, so that every width sees its own bytes.
struct Sample {
  static constexpr std::size_t kRuns = 8, kRunBytes = 512;
  std::array<std::uint8_t, kRuns * kRunBytes> bytes;
  std::size_t size;

  explicit Sample(Bytes from) : size(std::min(from.size() / 8 * 8, bytes.size())) {
    static_assert(kRuns * kRunBytes <= kMaxSample);
    if (size < bytes.size()) {
      if (size > 0) std::memcpy(bytes.data(), from.data(), size);
      return;
    }
    const std::size_t step = (from.size() - kRunBytes) / (kRuns - 1) / 8 * 8;
    for (std::size_t i = 0; i < kRuns; ++i)
      std::memcpy(bytes.data() + i * kRunBytes, from.data() + i * step, kRunBytes);
  }
};

LayoutChoice choose(std::span<const PlaneLayout> layouts, const Sample& sample,
                    const std::optional<Sample>& base, std::size_t bytes) {
  LayoutChoice best{layouts[0], 1};
  if (sample.size == 0) return best;
  std::array<std::uint8_t, kMaxSample> planes;
  for (const PlaneLayout layout : layouts) {
    const std::size_t count = sample.size / layout.width;
    kernels().split(layout.transform, layout.width, sample.bytes.data(),
                    base ? base->bytes.data() : nullptr, count, planes.data());
    double bits = 0;
    for (std::size_t k = 0; k < layout.width; ++k)
      bits += sample_bits({planes.data() + k * count, count});
    const double share =
        bits / (8 * static_cast<double>(sample.size)) + kOverheadBytes / static_cast<double>(bytes);
    if (share < 0.99 * best.share) best = {layout, share};
  }
  return best;
}

thread_local std::vector<std::uint8_t> scratch;

std::span<std::uint8_t> scratch_planes(std::size_t bytes) {
  if (scratch.size() < bytes) scratch.resize(bytes);
  return {scratch.data(), bytes};
}

}  // namespace

LayoutChoice choose_layout(Bytes bytes) {
  // Narrow ones first: a wider one has more tables, so it must be clearly better.
  static constexpr PlaneLayout kLayouts[] = {{1, Transform::kNone},   {2, Transform::kRotate},
                                             {4, Transform::kRotate}, {8, Transform::kRotate},
                                             {2, Transform::kNone},   {4, Transform::kNone},
                                             {8, Transform::kNone}};
  return choose(kLayouts, Sample(bytes), std::nullopt, bytes.size());
}

LayoutChoice choose_difference(Bytes bytes, Bytes base) {
  static constexpr PlaneLayout kLayouts[] = {{1, Transform::kXor},
                                             {2, Transform::kFloatDifference},
                                             {4, Transform::kFloatDifference},
                                             {8, Transform::kFloatDifference},
                                             {2, Transform::kIntDifference},
                                             {4, Transform::kIntDifference},
                                             {8, Transform::kIntDifference},
                                             {2, Transform::kXor},
                                             {4, Transform::kXor},
                                             {8, Transform::kXor}};
  return choose(kLayouts, Sample(bytes), Sample(base), bytes.size());
}

void encode_planes(PlaneLayout layout, Bytes in, Bytes base, Buffer& out, const Kernels& kernels) {
  if (!is_valid(layout)) throw Error(ErrorKind::kInvalid, "a plane layout that does not exist");
  check_base(layout, in.size(), base, ErrorKind::kInvalid);
  const std::size_t count = in.size() / layout.width, whole = count * layout.width;
  const std::span<std::uint8_t> split = scratch_planes(whole);
  kernels.split(layout.transform, layout.width, u8(in), u8(base), count, split.data());

  std::array<Plane, kMaxWidth> planes;
  std::array<RansPlane, kMaxWidth> coded;
  std::size_t coded_count = 0;
  ByteWriter writer(std::move(out));
  writer.put(layout.width);
  writer.put(static_cast<std::uint8_t>(layout.transform));
  // From the top byte down: the most regular first.
  for (std::size_t k = layout.width; k-- > 0;) {
    planes[k] = plan(split.subspan(k * count, count));
    writer.put(static_cast<std::uint8_t>(planes[k].kind));
    if (planes[k].kind == PlaneKind::kConstant) writer.put(planes[k].symbols[0]);
    if (planes[k].kind != PlaneKind::kCoded) continue;
    put_frequencies(writer, planes[k].frequencies);
    coded[coded_count++] = {&planes[k].frequencies, planes[k].symbols};
  }
  if (coded_count > 0) rans_encode(kernels, {coded.data(), coded_count}, writer);
  for (std::size_t k = layout.width; k-- > 0;)
    if (planes[k].kind == PlaneKind::kRaw) writer.put_bytes(bytes_of(planes[k].symbols));
  writer.put_bytes(in.subspan(whole));
  out = std::move(writer).take();
}

void decode_planes(Bytes in, Bytes base, MutableBytes out, const Kernels& kernels) {
  ByteReader reader(in);
  PlaneLayout layout;
  layout.width = reader.get<std::uint8_t>();
  layout.transform = static_cast<Transform>(reader.get<std::uint8_t>());
  if (!is_valid(layout)) throw_corrupt("its layout is unknown");
  check_base(layout, out.size(), base, ErrorKind::kCorrupt);
  const std::size_t count = out.size() / layout.width, whole = count * layout.width;
  const std::span<std::uint8_t> room = scratch_planes(whole);

  std::array<const std::uint8_t*, kMaxWidth> planes{};
  std::array<Frequencies, kMaxWidth> frequencies;
  std::array<RansPlaneOut, kMaxWidth> coded;
  std::size_t coded_count = 0;
  for (std::size_t k = layout.width; k-- > 0;) {
    const std::span<std::uint8_t> plane = room.subspan(k * count, count);
    const auto kind = static_cast<PlaneKind>(reader.get<std::uint8_t>());
    if (kind == PlaneKind::kConstant) {
      std::fill(plane.begin(), plane.end(), reader.get<std::uint8_t>());
    } else if (kind == PlaneKind::kCoded) {
      frequencies[k] = get_frequencies(reader);
      coded[coded_count++] = {&frequencies[k], plane};
    } else if (kind != PlaneKind::kRaw) {
      throw_corrupt("a plane is of an unknown kind");
    }
    if (kind != PlaneKind::kRaw) planes[k] = plane.data();
  }
  if (coded_count > 0) rans_decode(kernels, {coded.data(), coded_count}, reader);
  for (std::size_t k = layout.width; k-- > 0;)
    if (planes[k] == nullptr) planes[k] = u8(reader.get_bytes(count));
  const Bytes tail = reader.get_bytes(out.size() - whole);
  if (!reader.ok() || reader.remaining() != 0)
    throw_corrupt("it has another length than it should");
  kernels.merge(layout.transform, layout.width, planes.data(), u8(base), count, u8(out));
  if (!tail.empty()) std::memcpy(out.data() + whole, tail.data(), tail.size());
}

}  // namespace flor
