// Planes of bytes one behind the other, each stored as it pays: as one symbol, raw, or
// entropy-coded. All coded planes share one run of rANS states.
//
// Thread-safety: free functions without shared state.
#pragma once

#include <cstdint>
#include <span>

#include "base/bytes.h"
#include "codec/kernels.h"

namespace flor {

inline constexpr std::size_t kMaxPlanes = 9;

// A coded plane must save this share of itself: less is not worth its time on every read.
inline constexpr double kLeastPlaneSaving = 0.02;

// Bits that the symbols of a sample (up to kMaxSampleSymbols) take by their own frequencies, with a
// correction for the symbols that a sample misses.
inline constexpr std::size_t kMaxSampleSymbols = 4096;
double sample_bits(std::span<const std::uint8_t> sample);

void write_planes(const Kernels& kernels, std::span<const std::span<const std::uint8_t>> planes,
                  ByteWriter& out);

// Where each plane's symbols are: in its room, or, for a raw plane, in the bytes that were read.
// Throws kCorrupt.
void read_planes(const Kernels& kernels, std::span<const std::span<std::uint8_t>> rooms,
                 ByteReader& in, std::span<const std::uint8_t*> planes);

}  // namespace flor
