// Compiled with AVX-512 F, BW, DQ and VL; empty elsewhere.
#ifdef __AVX512BW__
#include <immintrin.h>

#include "codec/kernels_loops.h"
#include "codec/rans_loops.h"

namespace flor {
namespace {

struct Lanes16 {
  static constexpr size_t kWidth = 16;
  __m512i v;

  static Lanes16 load(const uint32_t* from) { return {_mm512_loadu_si512(from)}; }
  static Lanes16 load_bytes(const uint8_t* from) {
    return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)))};
  }
  static Lanes16 all(uint32_t value) { return {_mm512_set1_epi32(static_cast<int>(value))}; }
  static Lanes16 gather(const uint32_t* table, Lanes16 index) {
    return {_mm512_i32gather_epi32(index.v, table, 4)};
  }
  void save(uint32_t* to) const { _mm512_storeu_si512(to, v); }
  void save_bytes(uint8_t* to) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(v));
  }

  Lanes16 operator&(Lanes16 o) const { return {_mm512_and_si512(v, o.v)}; }
  Lanes16 operator+(Lanes16 o) const { return {_mm512_add_epi32(v, o.v)}; }
  Lanes16 operator-(Lanes16 o) const { return {_mm512_sub_epi32(v, o.v)}; }
  Lanes16 operator*(Lanes16 o) const { return {_mm512_mullo_epi32(v, o.v)}; }
  template <int N>
  Lanes16 shift_left() const {
    return {_mm512_slli_epi32(v, N)};
  }
  template <int N>
  Lanes16 shift_right() const {
    return {_mm512_srli_epi32(v, N)};
  }
  Lanes16 shift_right_by(Lanes16 o) const { return {_mm512_srlv_epi32(v, o.v)}; }
  Lanes16 multiply_high(Lanes16 o) const {
    const __m512i even = _mm512_srli_epi64(_mm512_mul_epu32(v, o.v), 32);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(v, 32), _mm512_srli_epi64(o.v, 32));
    return {_mm512_mask_blend_epi32(0xAAAA, even, odd)};
  }
  __mmask16 at_least(Lanes16 o) const { return _mm512_cmpge_epu32_mask(v, o.v); }
  __mmask16 below(Lanes16 o) const { return _mm512_cmplt_epu32_mask(v, o.v); }

  Lanes16 give_words(__mmask16 mask, uint8_t*& at) const {
    const unsigned count = static_cast<unsigned>(__builtin_popcount(mask));
    at -= 2 * count;
    const __m256i words = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(mask, v));
    _mm256_mask_storeu_epi16(at, static_cast<__mmask16>((1u << count) - 1), words);
    return {_mm512_mask_srli_epi32(v, mask, v, 16)};
  }
  Lanes16 take_words(__mmask16 mask, const uint8_t*& at) const {
    const __m512i words =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
    at += 2 * __builtin_popcount(mask);
    return {_mm512_mask_or_epi32(v, mask, _mm512_slli_epi32(v, 16),
                                 _mm512_maskz_expand_epi32(mask, words))};
  }
};

}  // namespace

extern const Kernels kAvx512Kernels{"avx512",
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
                                    &rans_encode<Lanes16>,
                                    &rans_decode<Lanes16>};

}  // namespace flor
#endif
