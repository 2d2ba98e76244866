#include "codec/rans.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "base/error.h"

namespace flor {
namespace {

[[noreturn]] void throw_corrupt(const char* what) {
  throw Error(ErrorKind::kCorrupt, std::string("bytes are not a valid planes encoding: ") + what);
}

RansEncodeTable encode_table(const Frequencies& frequencies) noexcept {
  RansEncodeTable table{};
  std::uint32_t start = 0;
  for (std::size_t s = 0; s < 256; ++s) {
    const std::uint32_t freq = frequencies.of[s];
    if (freq == 0) continue;
    if (freq == 1) {
      // The quotient comes out as x - 1 here, which the bias makes up for.
      table.packed[s] = 1 | (start + kRansScale - 1) << 12;
      table.reciprocal[s] = ~std::uint32_t{0};
    } else {
      const auto shift = static_cast<std::uint32_t>(std::bit_width(freq - 1));
      table.packed[s] = freq | start << 12 | (shift - 1) << 25;
      table.reciprocal[s] =
          static_cast<std::uint32_t>(((std::uint64_t{1} << (shift + 31)) + freq - 1) / freq);
    }
    start += freq;
  }
  return table;
}

void fill_decode_table(const Frequencies& frequencies, RansDecodeTable& table) noexcept {
  std::uint32_t* slot = table.slot;
  for (std::uint32_t s = 0; s < 256; ++s) {
    const std::uint32_t freq = frequencies.of[s], base = s | freq << 8;
    for (std::uint32_t j = 0; j < freq; ++j) slot[j] = base | j << 20;
    slot += freq;
  }
}

// The symbols behind the last whole block, one lane each. Both follow Kernels::encode and decode.
std::uint8_t* encode_rest(std::uint32_t* states, const RansEncodeTable& table,
                          std::span<const std::uint8_t> symbols, std::uint8_t* at) {
  for (std::size_t lane = symbols.size(); lane-- > 0;) {
    const std::uint32_t packed = table.packed[symbols[lane]], freq = packed & (kRansScale - 1);
    std::uint32_t x = states[lane];
    if (x >= freq << 19) {
      const auto word = static_cast<std::uint16_t>(x);
      std::memcpy(at -= 2, &word, 2);
      x >>= 16;
    }
    const auto high =
        static_cast<std::uint32_t>(std::uint64_t{x} * table.reciprocal[symbols[lane]] >> 32);
    states[lane] = x + (packed >> 12 & 0x1FFF) + (high >> (packed >> 25)) * (kRansScale - freq);
  }
  return at;
}

void decode_rest(std::uint32_t* states, const RansDecodeTable& table,
                 std::span<std::uint8_t> symbols, const std::uint8_t*& at) {
  for (std::size_t lane = 0; lane < symbols.size(); ++lane) {
    const std::uint32_t slot = table.slot[states[lane] & (kRansScale - 1)];
    symbols[lane] = static_cast<std::uint8_t>(slot);
    std::uint32_t x =
        (slot >> 8 & (kRansScale - 1)) * (states[lane] >> kRansScaleBits) + (slot >> 20);
    if (x < kRansLow) {
      std::uint16_t word;
      std::memcpy(&word, at, 2);
      at += 2;
      x = x << 16 | word;
    }
    states[lane] = x;
  }
}

// The words of a stream, of which a kernel reads up to a block's too many: its last ones are read
// from a copy with zeros behind.
class Words {
 public:
  explicit Words(Bytes bytes) : bytes_(bytes) {}

  // Where to read on: a kernel may read kRansLanes words from any place up to `last`.
  void place(const std::uint8_t*& at, const std::uint8_t*& last) {
    if (!in_tail_ && bytes_.size() - done_ > kTail) {
      begin_ = at = reinterpret_cast<const std::uint8_t*>(bytes_.data()) + done_;
      last = at + (bytes_.size() - done_ - kBlock);
      return;
    }
    if (!in_tail_) {
      in_tail_ = true;
      tail_.fill(0);
      tail_begin_ = done_;
      if (done_ < bytes_.size())
        std::memcpy(tail_.data(), bytes_.data() + done_, bytes_.size() - done_);
    }
    begin_ = at = tail_.data() + (done_ - tail_begin_);
    last = tail_.data() + tail_.size() - kBlock;
  }
  // Tells how far reading came. Throws when that is beyond the end.
  void taken(const std::uint8_t* at) {
    done_ += static_cast<std::size_t>(at - begin_);
    if (done_ > bytes_.size()) throw_corrupt("it ends too early");
  }
  bool all_taken() const noexcept { return done_ == bytes_.size(); }

 private:
  static constexpr std::size_t kBlock = 2 * kRansLanes, kTail = 2 * kBlock;
  const Bytes bytes_;
  std::size_t done_ = 0, tail_begin_ = 0;
  bool in_tail_ = false;
  const std::uint8_t* begin_ = nullptr;
  std::array<std::uint8_t, kTail + 2 * kBlock> tail_;
};

void decode_plane(const Kernels& kernels, std::uint32_t* states, const RansDecodeTable& table,
                  std::span<std::uint8_t> symbols, Words& words) {
  const std::uint8_t *at = nullptr, *last = nullptr;
  for (std::size_t blocks = symbols.size() / kRansLanes; blocks > 0;) {
    words.place(at, last);
    const std::size_t done = kernels.decode(states, table, symbols.data(), blocks, at, last);
    words.taken(at);
    blocks -= done;
    symbols = symbols.subspan(done * kRansLanes);
  }
  words.place(at, last);
  decode_rest(states, table, symbols, at);
  words.taken(at);
}

}  // namespace

Histogram histogram(std::span<const std::uint8_t> symbols) noexcept {
  // Eight counters a symbol, since equal neighbours would wait for each other's store; and words of
  // eight equal symbols are counted as one, since planes that are almost constant are common.
  std::array<std::array<std::uint32_t, 256>, 8> parts{};
  std::array<std::uint32_t, 256> whole{};
  std::size_t i = 0;
  for (; i + 8 <= symbols.size(); i += 8) {
    std::uint64_t eight;
    std::memcpy(&eight, symbols.data() + i, 8);
    if (eight == (eight >> 8 | eight << 56)) {
      ++whole[eight & 0xFF];
      continue;
    }
    for (std::size_t k = 0; k < 8; ++k) ++parts[k][static_cast<std::uint8_t>(eight >> (8 * k))];
  }
  for (; i < symbols.size(); ++i) ++parts[0][symbols[i]];
  Histogram counts;
  for (std::size_t s = 0; s < 256; ++s) {
    counts[s] = 8 * whole[s];
    for (const auto& part : parts) counts[s] += part[s];
  }
  return counts;
}

Frequencies Frequencies::fit(const Histogram& counts) noexcept {
  std::uint64_t total = 0;
  for (const std::uint32_t count : counts) total += count;
  Frequencies out;
  std::int64_t left = kRansScale;
  for (std::size_t s = 0; s < 256; ++s) {
    if (counts[s] == 0) continue;
    const std::uint64_t share = (2 * kRansScale * std::uint64_t{counts[s]} / total + 1) / 2;
    out.of[s] = static_cast<std::uint16_t>(std::clamp<std::uint64_t>(share, 1, kRansScale - 1));
    left -= out.of[s];
  }
  // Rounding is settled with the most frequent symbols, where it costs least.
  while (left != 0) {
    auto& most = *std::max_element(out.of.begin(), out.of.end());
    const std::int64_t wanted = std::clamp<std::int64_t>(most + left, most / 2, kRansScale - 1);
    left -= wanted - most;
    most = static_cast<std::uint16_t>(wanted);
  }
  return out;
}

double Frequencies::cost_bytes(const Histogram& counts) const noexcept {
  static const std::array<float, kRansScale + 1> bits = [] {
    std::array<float, kRansScale + 1> table{};
    for (std::size_t f = 1; f <= kRansScale; ++f)
      table[f] = static_cast<float>(kRansScaleBits - std::log2(static_cast<double>(f)));
    return table;
  }();
  double sum = 0;
  for (std::size_t s = 0; s < 256; ++s) sum += static_cast<double>(counts[s]) * bits[of[s]];
  return sum / 8;
}

void put_frequencies(ByteWriter& out, const Frequencies& frequencies) {
  ByteWriter runs, values;
  std::uint8_t count = 0;
  for (std::size_t s = 0; s < 256;) {
    if (frequencies.of[s] == 0) {
      ++s;
      continue;
    }
    const std::size_t first = s;
    for (; s < 256 && frequencies.of[s] != 0; ++s) {
      std::uint16_t f = frequencies.of[s];
      for (; f >= 128; f >>= 7) values.put(static_cast<std::uint8_t>(f | 128));
      values.put(static_cast<std::uint8_t>(f));
    }
    runs.put(static_cast<std::uint8_t>(first));
    runs.put(static_cast<std::uint8_t>(s - first - 1));
    ++count;
  }
  out.put(count);
  out.put_bytes(runs.view());
  out.put_bytes(values.view());
}

Frequencies get_frequencies(ByteReader& in) {
  Frequencies out;
  const auto count = in.get<std::uint8_t>();
  const Bytes runs = in.get_bytes(std::size_t{count} * 2);
  std::uint32_t sum = 0;
  std::size_t next = 0;
  for (std::size_t run = 0; run < runs.size() / 2; ++run) {
    const auto first = std::to_integer<std::size_t>(runs[2 * run]);
    const std::size_t end = first + std::to_integer<std::size_t>(runs[2 * run + 1]) + 1;
    if (first < next || end > 256) throw_corrupt("its symbols are out of order");
    for (std::size_t s = first; s < end; ++s) {
      std::uint32_t f = in.get<std::uint8_t>();
      if (f >= 128) f = (f & 127) | std::uint32_t{in.get<std::uint8_t>()} << 7;
      if (f == 0 || f >= kRansScale) throw_corrupt("a frequency is impossible");
      out.of[s] = static_cast<std::uint16_t>(f);
      sum += f;
    }
    next = end;
  }
  if (!in.ok() || sum != kRansScale) throw_corrupt("its frequencies do not sum up");
  return out;
}

void rans_encode(const Kernels& kernels, std::span<const RansPlane> planes, ByteWriter& out) {
  std::size_t symbols = 0;
  for (const RansPlane& plane : planes) symbols += plane.symbols.size();
  // A symbol gives at most one word of two bytes; a kernel may write 16 bytes below what it gives.
  thread_local std::vector<std::uint8_t> words;
  if (words.size() < 2 * symbols + kRansLanes) words.resize(2 * symbols + kRansLanes);
  std::array<std::uint32_t, kRansLanes> states;
  states.fill(kRansLow);
  std::uint8_t* const end = words.data() + words.size();
  std::uint8_t* at = end;
  for (std::size_t p = planes.size(); p-- > 0;) {
    const RansEncodeTable table = encode_table(*planes[p].frequencies);
    const std::size_t blocks = planes[p].symbols.size() / kRansLanes;
    at = encode_rest(states.data(), table, planes[p].symbols.subspan(blocks * kRansLanes), at);
    at = kernels.encode(states.data(), table, planes[p].symbols.data(), blocks, at);
  }
  out.put(static_cast<std::uint32_t>((end - at) / 2));
  out.put_bytes({reinterpret_cast<const std::byte*>(states.data()), sizeof states});
  out.put_bytes({reinterpret_cast<const std::byte*>(at), static_cast<std::size_t>(end - at)});
}

void rans_decode(const Kernels& kernels, std::span<const RansPlaneOut> planes, ByteReader& in) {
  const auto count = in.get<std::uint32_t>();
  std::array<std::uint32_t, kRansLanes> states{};
  const Bytes saved = in.get_bytes(sizeof states);
  Words words(in.get_bytes(std::size_t{count} * 2));
  if (!in.ok()) throw_corrupt("it is cut");
  std::memcpy(states.data(), saved.data(), sizeof states);
  for (const std::uint32_t x : states)
    if (x < kRansLow || x >= kRansLow << 16) throw_corrupt("a state is out of range");
  RansDecodeTable table;
  for (const RansPlaneOut& plane : planes) {
    fill_decode_table(*plane.frequencies, table);
    decode_plane(kernels, states.data(), table, plane.symbols, words);
  }
  const bool ended =
      std::all_of(states.begin(), states.end(), [](std::uint32_t x) { return x == kRansLow; });
  if (!ended || !words.all_taken()) throw_corrupt("it does not end where it should");
}

}  // namespace flor
