// An entropy coder of order 0 for byte planes: each plane has its own frequencies, all planes of a
// block share one run of interleaved rANS states, so that a block pays once for flushing them.
//
// Thread-safety: free functions and values without shared state.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "codec/kernels.h"

namespace flor {

using Histogram = std::array<std::uint32_t, 256>;
Histogram histogram(std::span<const std::uint8_t> symbols) noexcept;

// How often each symbol occurs, in 1/4096. Every symbol that occurs has at least 1; no symbol has
// all 4096: a plane of one symbol needs no coder.
struct Frequencies {
  std::array<std::uint16_t, 256> of{};

  // REQUIRES: at least two different symbols.
  static Frequencies fit(const Histogram& counts) noexcept;
  // Bytes that coding symbols of these counts will take, without the states.
  double cost_bytes(const Histogram& counts) const noexcept;
};

// pairs of (first symbol, symbols - 1) with a u8 count of pairs ahead, then each frequency as a
// varint of 7 bits a byte.
void put_frequencies(ByteWriter& out, const Frequencies& frequencies);
// Throws kCorrupt when it is cut or does not sum up to 4096.
Frequencies get_frequencies(ByteReader& in);

struct RansPlane {
  const Frequencies* frequencies;
  std::span<const std::uint8_t> symbols;
};
struct RansPlaneOut {
  const Frequencies* frequencies;
  std::span<std::uint8_t> symbols;
};

// u32 words, u32 × 64 states, then the words; planes in their order.
void rans_encode(const Kernels& kernels, std::span<const RansPlane> planes, ByteWriter& out);
// Throws kCorrupt unless the stream gives exactly these planes. Reads nothing outside of `in`,
// whatever it holds.
void rans_decode(const Kernels& kernels, std::span<const RansPlaneOut> planes, ByteReader& in);

}  // namespace flor
