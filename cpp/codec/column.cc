#include "codec/column.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <string>

#include "base/error.h"
#include "codec/decimals.h"
#include "codec/planes.h"
#include "codec/streams.h"

namespace flor {
namespace {

enum class ColumnChain : std::uint8_t {
  kPlain = 0,
  kPlanes = 1,
  kRotated = 2,
  kSteps = 3,
  kDictionary = 4,
  kDecimals = 5,
  kDecimalSteps = 6,
  kDifference = 7,
};

constexpr std::size_t kInEarnest = 2;
// Encoded in earnest, too: what the fast zstd makes at most this much larger than the best.
constexpr double kNearBest = 1.3;
constexpr std::size_t kMostDistinct = 65536;
// A difference needs a second chunk on every read, so it must beat what does without.
constexpr double kDifferenceShare = 0.9;
// One so much smaller than all that a fast zstd makes is taken without a look at a slow one's work.
constexpr std::size_t kFarSmaller = 4;

[[noreturn]] void throw_corrupt(const char* what) {
  throw Error(ErrorKind::kCorrupt, std::string("bytes are not a valid column encoding: ") + what);
}

// A way to write the column: what stands ahead, then the streams.
struct Draft {
  ColumnChain chain;
  Buffer head;
  Streams streams;
  std::size_t quick = 0;
};

Draft in_planes(ColumnChain chain, Transform transform, Bytes in, unsigned width) {
  Draft draft{chain, {}, {}};
  add_planes(transform, in, {}, width, draft.streams);
  return draft;
}

Draft in_steps(Bytes in, unsigned width) {
  Draft draft{ColumnChain::kSteps, {}, {}};
  add_steps(in, width, draft.streams);
  return draft;
}

std::optional<Draft> in_dictionary(Bytes in, unsigned width) {
  const std::size_t count = in.size() / width;
  std::vector<std::uint64_t> values(count);
  for (std::size_t i = 0; i < count; ++i) values[i] = get_element(in.data(), i, width);
  std::vector<std::uint64_t> distinct = values;
  std::sort(distinct.begin(), distinct.end());
  distinct.erase(std::unique(distinct.begin(), distinct.end()), distinct.end());
  if (distinct.empty() || distinct.size() > std::min(kMostDistinct, count / 2)) return std::nullopt;
  Buffer sorted(distinct.size() * width);
  for (std::size_t i = 0; i < distinct.size(); ++i)
    put_element(sorted.data(), i, width, distinct[i]);
  const unsigned code_width = distinct.size() <= 256 ? 1 : 2;
  Buffer codes(count * code_width);
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = std::lower_bound(distinct.begin(), distinct.end(), values[i]);
    put_element(codes.data(), i, code_width, static_cast<std::uint64_t>(at - distinct.begin()));
  }
  ByteWriter head;
  head.put(static_cast<std::uint32_t>(distinct.size()));
  head.put(static_cast<std::uint8_t>(code_width));
  Draft draft{ColumnChain::kDictionary, std::move(head).take(), {}};
  add_steps(sorted, width, draft.streams);
  add_planes(Transform::kNone, codes, {}, code_width, draft.streams);
  return draft;
}

Draft in_decimals(const Decimals& decimals, bool steps) {
  const auto [low, high] = std::minmax_element(decimals.integers.begin(), decimals.integers.end());
  const auto least = static_cast<std::uint64_t>(*low);
  const std::uint64_t range = static_cast<std::uint64_t>(*high) - least;
  const unsigned width = range >> 8 == 0 ? 1 : range >> 16 == 0 ? 2 : range >> 32 == 0 ? 4 : 8;
  Buffer integers(decimals.integers.size() * width);
  for (std::size_t i = 0; i < decimals.integers.size(); ++i)
    put_element(integers.data(), i, width,
                static_cast<std::uint64_t>(decimals.integers[i]) - least);
  ByteWriter head;
  head.put(static_cast<std::uint8_t>(decimals.places));
  head.put(static_cast<std::uint8_t>(width));
  head.put(decimals.odd_count);
  head.put(*low);
  Draft draft{
      steps ? ColumnChain::kDecimalSteps : ColumnChain::kDecimals, std::move(head).take(), {}};
  if (decimals.odd_count != 0) draft.streams = {decimals.mask, decimals.odd};
  if (steps)
    add_steps(integers, width, draft.streams);
  else
    add_planes(Transform::kNone, integers, {}, width, draft.streams);
  return draft;
}

std::vector<Draft> drafts_of(Bytes in, ColumnKind kind) {
  std::vector<Draft> drafts;
  drafts.push_back({ColumnChain::kPlain, {}, {Buffer(in.begin(), in.end())}});
  if (kind.width > 1)
    drafts.push_back(in_planes(ColumnChain::kPlanes, Transform::kNone, in, kind.width));
  if (kind.floating && kind.width > 1)
    drafts.push_back(in_planes(ColumnChain::kRotated, Transform::kRotate, in, kind.width));
  if (kind.width > 1) drafts.push_back(in_steps(in, kind.width));
  if (kind.width > 1)
    if (auto draft = in_dictionary(in, kind.width)) drafts.push_back(std::move(*draft));
  if (kind.floating && kind.width >= sizeof(float))
    if (const auto decimals = find_decimals(in, kind.width)) {
      drafts.push_back(in_decimals(*decimals, false));
      drafts.push_back(in_decimals(*decimals, true));
    }
  for (Draft& draft : drafts) draft.quick = draft.head.size() + quick_size(draft.streams);
  std::stable_sort(drafts.begin(), drafts.end(),
                   [](const Draft& a, const Draft& b) { return a.quick < b.quick; });
  return drafts;
}

ByteWriter begin(ColumnChain chain, unsigned width) {
  ByteWriter out;
  out.put(chain);
  out.put(static_cast<std::uint8_t>(width));
  return out;
}

Buffer written(const Draft& draft, unsigned width, int level) {
  ByteWriter out = begin(draft.chain, width);
  out.put_bytes(draft.head);
  for (const Buffer& stream : draft.streams) put_stream(stream, level, out);
  return std::move(out).take();
}

Buffer as_difference(Bytes in, Bytes base, unsigned width) {
  Buffer planes;
  encode_planes(choose_difference(in, base).layout, in, base, planes);
  ByteWriter out = begin(ColumnChain::kDifference, width);
  out.put_bytes(planes);
  return std::move(out).take();
}

Buffer of_dictionary(std::size_t count, unsigned width, ByteReader& in) {
  const std::size_t distinct = in.get<std::uint32_t>();
  const unsigned code_width = in.get<std::uint8_t>();
  if (distinct == 0 || distinct > kMostDistinct || (code_width != 1 && code_width != 2))
    throw_corrupt("its dictionary is impossible");
  const Buffer sorted = get_steps(distinct, width, in);
  const Buffer codes = get_planes(Transform::kNone, count, code_width, in);
  Buffer out(count * width);
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t code = get_element(codes.data(), i, code_width);
    if (code >= distinct) throw_corrupt("an element is not in its dictionary");
    std::memcpy(out.data() + i * width, sorted.data() + code * width, width);
  }
  return out;
}

Buffer of_decimals(bool steps, std::size_t count, unsigned width, ByteReader& in) {
  Decimals decimals;
  decimals.places = in.get<std::uint8_t>();
  const unsigned integer_width = in.get<std::uint8_t>();
  decimals.odd_count = in.get<std::uint32_t>();
  const auto least = static_cast<std::uint64_t>(in.get<std::int64_t>());
  if (decimals.places > kMostPlaces || !std::has_single_bit(integer_width) || integer_width > 8 ||
      decimals.odd_count > count || (width != sizeof(float) && width != sizeof(double)))
    throw_corrupt("its scale is impossible");
  if (decimals.odd_count != 0) {
    decimals.mask = get_stream(in, (count + 7) / 8);
    decimals.odd = get_stream(in, decimals.odd_count * width);
  }
  const Buffer integers = steps ? get_steps(count, integer_width, in)
                                : get_planes(Transform::kNone, count, integer_width, in);
  decimals.integers.resize(count);
  for (std::size_t i = 0; i < count; ++i)
    decimals.integers[i] =
        static_cast<std::int64_t>(get_element(integers.data(), i, integer_width) + least);
  Buffer out(count * width);
  put_decimals(decimals, width, out);
  return out;
}

Buffer decoded(ColumnChain chain, std::size_t size, unsigned width, ByteReader& in) {
  const std::size_t count = size / width;
  switch (chain) {
    case ColumnChain::kPlain:
      return get_stream(in, size);
    case ColumnChain::kPlanes:
      return get_planes(Transform::kNone, count, width, in);
    case ColumnChain::kRotated:
      return get_planes(Transform::kRotate, count, width, in);
    case ColumnChain::kSteps:
      return get_steps(count, width, in);
    case ColumnChain::kDictionary:
      return of_dictionary(count, width, in);
    case ColumnChain::kDecimals:
      return of_decimals(false, count, width, in);
    case ColumnChain::kDecimalSteps:
      return of_decimals(true, count, width, in);
    case ColumnChain::kDifference:
      break;
  }
  throw Error(ErrorKind::kNewerFormat,
              "a column has a chain of a newer flor; upgrade flor to read it", {}, Error::kNoOffset,
              "0 to 7", std::to_string(static_cast<int>(chain)));
}

bool is_width(unsigned width) { return std::has_single_bit(width) && width <= 8; }

}  // namespace

void encode_column(Bytes in, ColumnKind kind, Bytes base, int level, Buffer& out) {
  if (!is_width(kind.width) || in.size() % kind.width != 0 ||
      (!base.empty() && base.size() != in.size()))
    throw Error(ErrorKind::kInvalid, "a column does not fit the width of its elements or its base");
  std::vector<Draft> drafts = drafts_of(in, kind);
  Buffer difference;
  if (!base.empty()) difference = as_difference(in, base, kind.width);
  if (!base.empty() && difference.size() * kFarSmaller < drafts[0].quick) {
    out = std::move(difference);
    return;
  }
  const double near = kNearBest * static_cast<double>(drafts[0].quick);
  std::erase_if(drafts, [&](const Draft& one) { return static_cast<double>(one.quick) > near; });
  drafts.resize(std::min(drafts.size(), kInEarnest));
  out = written(drafts[0], kind.width, level);
  for (std::size_t i = 1; i < drafts.size(); ++i)
    if (Buffer other = written(drafts[i], kind.width, level); other.size() < out.size())
      out = std::move(other);
  if (base.empty()) return;
  if (static_cast<double>(difference.size()) < kDifferenceShare * static_cast<double>(out.size()))
    out = std::move(difference);
}

bool column_needs_base(Bytes in) noexcept {
  return !in.empty() && in[0] == static_cast<std::byte>(ColumnChain::kDifference);
}

void decode_column(Bytes in, Bytes base, MutableBytes out) {
  ByteReader reader(in);
  const auto chain = static_cast<ColumnChain>(reader.get<std::uint8_t>());
  const unsigned width = reader.get<std::uint8_t>();
  if (!is_width(width) || out.size() % width != 0) throw_corrupt("its width is impossible");
  if (chain == ColumnChain::kDifference)
    return decode_planes(in.subspan(reader.position()), base, out);
  const Buffer values = decoded(chain, out.size(), width, reader);
  if (!reader.ok() || reader.remaining() != 0)
    throw_corrupt("it has another length than it should");
  if (!values.empty()) std::memcpy(out.data(), values.data(), values.size());
}

}  // namespace flor
