// Compiled with AVX2 and POPCNT; empty elsewhere.
#ifdef __AVX2__
#include <immintrin.h>

#include "codec/kernels_loops.h"
#include "codec/rans_loops.h"

namespace flor {
namespace {

// Per mask of 8 lanes, as bytes: where each set lane finds its word (counted from 0, ascending),
// and for compressing, which lane goes to each of the last popcount places.
struct Permutations {
  uint8_t expand[256][8], compress_to_end[256][8];
};
constexpr Permutations make_permutations() {
  Permutations p{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    unsigned count = 0, at = 8;
    for (unsigned lane = 0; lane < 8; ++lane)
      if (mask >> lane & 1) p.expand[mask][lane] = static_cast<uint8_t>(count++);
    for (unsigned lane = 8; lane-- > 0;)
      if (mask >> lane & 1) p.compress_to_end[mask][--at] = static_cast<uint8_t>(lane);
  }
  return p;
}
constexpr Permutations kPermutations = make_permutations();

struct Lanes8 {
  static constexpr size_t kWidth = 8;
  __m256i v;

  static Lanes8 load(const uint32_t* from) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))};
  }
  static Lanes8 load_bytes(const uint8_t* from) {
    return {_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)))};
  }
  static Lanes8 all(uint32_t value) { return {_mm256_set1_epi32(static_cast<int>(value))}; }
  static Lanes8 gather(const uint32_t* table, Lanes8 index) {
    return {_mm256_i32gather_epi32(reinterpret_cast<const int*>(table), index.v, 4)};
  }
  void save(uint32_t* to) const { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v); }
  void save_bytes(uint8_t* to) const {
    const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xFF));
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
  }

  Lanes8 operator&(Lanes8 o) const { return {_mm256_and_si256(v, o.v)}; }
  Lanes8 operator+(Lanes8 o) const { return {_mm256_add_epi32(v, o.v)}; }
  Lanes8 operator-(Lanes8 o) const { return {_mm256_sub_epi32(v, o.v)}; }
  Lanes8 operator*(Lanes8 o) const { return {_mm256_mullo_epi32(v, o.v)}; }
  template <int N>
  Lanes8 shift_left() const {
    return {_mm256_slli_epi32(v, N)};
  }
  template <int N>
  Lanes8 shift_right() const {
    return {_mm256_srli_epi32(v, N)};
  }
  Lanes8 shift_right_by(Lanes8 o) const { return {_mm256_srlv_epi32(v, o.v)}; }
  Lanes8 multiply_high(Lanes8 o) const {
    const __m256i even = _mm256_srli_epi64(_mm256_mul_epu32(v, o.v), 32);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(v, 32), _mm256_srli_epi64(o.v, 32));
    return {_mm256_blend_epi32(even, odd, 0xAA)};
  }
  // States and bounds are below 2^31, so signed comparisons do.
  __m256i at_least(Lanes8 o) const {
    return _mm256_xor_si256(_mm256_cmpgt_epi32(o.v, v), _mm256_set1_epi32(-1));
  }
  __m256i below(Lanes8 o) const { return _mm256_cmpgt_epi32(o.v, v); }

  // The words come to stand at the end of a vector that is stored whole: what it writes below them
  // is written over by those that follow.
  Lanes8 give_words(__m256i mask, uint8_t*& at) const {
    const auto bits = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(mask)));
    const __m256i low = _mm256_and_si256(v, _mm256_set1_epi32(0xFFFF));
    const __m256i ended =
        _mm256_permutevar8x32_epi32(low, load_bytes(kPermutations.compress_to_end[bits]).v);
    const __m128i words =
        _mm_packus_epi32(_mm256_castsi256_si128(ended), _mm256_extracti128_si256(ended, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(at - 16), words);
    at -= 2 * __builtin_popcount(bits);
    return {_mm256_blendv_epi8(v, _mm256_srli_epi32(v, 16), mask)};
  }
  Lanes8 take_words(__m256i mask, const uint8_t*& at) const {
    const auto bits = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(mask)));
    const __m256i words =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(at)));
    at += 2 * __builtin_popcount(bits);
    const __m256i placed =
        _mm256_permutevar8x32_epi32(words, load_bytes(kPermutations.expand[bits]).v);
    return {_mm256_blendv_epi8(v, _mm256_or_si256(_mm256_slli_epi32(v, 16), placed), mask)};
  }
};

}  // namespace

extern const Kernels kAvx2Kernels{"avx2",
                                  &split,
                                  &merge,
                                  &compact,
                                  &spread,
                                  &quantize,
                                  &dequantize,
                                  &largest,
                                  &range,
                                  &affine_encode,
                                  &affine_decode,
                                  &rans_encode<Lanes8>,
                                  &rans_decode<Lanes8>};

}  // namespace flor
#endif
