// The rANS coders over a vector of states. `Vec` is an instruction set's view of kWidth 32-bit
// lanes; every `Vec` does the same arithmetic, so every one gives the same bytes. Internal linkage:
// see kernels_loops.h. Source: J. Duda, "Asymmetric numeral systems" (2013); F. Giesen,
// "Interleaved entropy coders" (2014), whose reciprocal and interleaving this follows.
#pragma once

#include "codec/kernels.h"

namespace flor {
namespace {

template <typename Vec>
uint8_t* rans_encode(uint32_t* states, const RansEncodeTable& table, const uint8_t* symbols,
                     size_t blocks, uint8_t* at) {
  constexpr size_t kGroups = kRansLanes / Vec::kWidth;
  Vec x[kGroups];
  for (size_t g = 0; g < kGroups; ++g) x[g] = Vec::load(states + g * Vec::kWidth);
  while (blocks-- > 0) {
    const uint8_t* const block = symbols + blocks * kRansLanes;
#pragma GCC unroll 8
    for (size_t i = 0; i < kGroups; ++i) {
      const size_t g = kGroups - 1 - i;
      const Vec symbol = Vec::load_bytes(block + g * Vec::kWidth);
      const Vec packed = Vec::gather(table.packed, symbol);
      const Vec reciprocal = Vec::gather(table.reciprocal, symbol);
      const Vec freq = packed & Vec::all(kRansScale - 1);
      // 2^31 / 4096 * freq: above it the state would leave its range.
      x[g] = x[g].give_words(x[g].at_least(freq.template shift_left<19>()), at);
      const Vec quotient =
          x[g].multiply_high(reciprocal).shift_right_by(packed.template shift_right<25>());
      const Vec bias = packed.template shift_right<12>() & Vec::all(0x1FFF);
      x[g] = x[g] + bias + quotient * (Vec::all(kRansScale) - freq);
    }
  }
  for (size_t g = 0; g < kGroups; ++g) x[g].save(states + g * Vec::kWidth);
  return at;
}

template <typename Vec>
size_t rans_decode(uint32_t* states, const RansDecodeTable& table, uint8_t* symbols, size_t blocks,
                   const uint8_t*& at, const uint8_t* last) {
  constexpr size_t kGroups = kRansLanes / Vec::kWidth;
  const uint8_t* in = at;
  Vec x[kGroups];
  for (size_t g = 0; g < kGroups; ++g) x[g] = Vec::load(states + g * Vec::kWidth);
  size_t done = 0;
  for (; done < blocks && in <= last; ++done) {
    uint8_t* const block = symbols + done * kRansLanes;
#pragma GCC unroll 8
    for (size_t g = 0; g < kGroups; ++g) {
      const Vec slot = Vec::gather(table.slot, x[g] & Vec::all(kRansScale - 1));
      slot.save_bytes(block + g * Vec::kWidth);
      const Vec freq = slot.template shift_right<8>() & Vec::all(kRansScale - 1);
      x[g] = freq * x[g].template shift_right<kRansScaleBits>() + slot.template shift_right<20>();
      x[g] = x[g].take_words(x[g].below(Vec::all(kRansLow)), in);
    }
  }
  for (size_t g = 0; g < kGroups; ++g) x[g].save(states + g * Vec::kWidth);
  at = in;
  return done;
}

}  // namespace
}  // namespace flor
