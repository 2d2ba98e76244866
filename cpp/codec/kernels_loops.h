// Splitting elements into byte planes and back: plain loops that the compiler vectorizes for the
// flags of the file that includes them. Internal linkage throughout: a function compiled for
// AVX-512 must never be the one the linker keeps for all. For the same reason no standard library
// here.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "codec/kernels.h"

namespace flor {
namespace {

template <typename U>
inline U get(const uint8_t* from, size_t i) {
  U value;
  __builtin_memcpy(&value, from + i * sizeof(U), sizeof(U));
  return value;
}
template <typename U>
inline void put(uint8_t* to, size_t i, U value) {
  __builtin_memcpy(to + i * sizeof(U), &value, sizeof(U));
}

template <typename U>
constexpr unsigned kTop = 8 * sizeof(U) - 1;
// All ones when the top bit is set.
template <typename U>
inline U sign(U x) {
  return static_cast<U>(U{0} - static_cast<U>(x >> kTop<U>));
}
// Negative floats sort backwards as integers: flipping all but their sign makes the order monotone.
// Its own inverse.
template <typename U>
inline U monotone(U x) {
  return static_cast<U>(x ^ static_cast<U>(sign(x) >> 1));
}
template <typename U>
inline U zigzag(U x) {
  return static_cast<U>(static_cast<U>(x << 1) ^ sign(x));
}
template <typename U>
inline U unzigzag(U x) {
  return static_cast<U>(static_cast<U>(x >> 1) ^ static_cast<U>(U{0} - static_cast<U>(x & 1)));
}
template <typename U>
inline U rotate(U x) {
  return static_cast<U>(static_cast<U>(x << 1) | static_cast<U>(x >> kTop<U>));
}
template <typename U>
inline U unrotate(U x) {
  return static_cast<U>(static_cast<U>(x >> 1) | static_cast<U>(x << kTop<U>));
}

template <Transform T, typename U>
inline U forward(U x, U base) {
  if constexpr (T == Transform::kRotate) return rotate(x);
  if constexpr (T == Transform::kFloatDifference)
    return zigzag(static_cast<U>(monotone(x) - monotone(base)));
  if constexpr (T == Transform::kIntDifference) return zigzag(static_cast<U>(x - base));
  if constexpr (T == Transform::kXor) return static_cast<U>(x ^ base);
  return x;
}
template <Transform T, typename U>
inline U backward(U x, U base) {
  if constexpr (T == Transform::kRotate) return unrotate(x);
  if constexpr (T == Transform::kFloatDifference)
    return monotone(static_cast<U>(unzigzag(x) + monotone(base)));
  if constexpr (T == Transform::kIntDifference) return static_cast<U>(unzigzag(x) + base);
  if constexpr (T == Transform::kXor) return static_cast<U>(x ^ base);
  return x;
}

template <Transform T, typename U>
void split_as(const uint8_t* __restrict in, const uint8_t* __restrict base, size_t count,
              uint8_t* __restrict planes) {
  uint8_t* __restrict plane[sizeof(U)];
  for (size_t k = 0; k < sizeof(U); ++k) plane[k] = planes + k * count;
  for (size_t i = 0; i < count; ++i) {
    const U x = forward<T, U>(get<U>(in, i), needs_base(T) ? get<U>(base, i) : U{0});
#pragma GCC unroll 8
    for (size_t k = 0; k < sizeof(U); ++k) plane[k][i] = static_cast<uint8_t>(x >> (8 * k));
  }
}

template <Transform T, typename U>
void merge_as(const uint8_t* const* planes, const uint8_t* __restrict base, size_t count,
              uint8_t* __restrict out) {
  const uint8_t* __restrict plane[sizeof(U)];
  for (size_t k = 0; k < sizeof(U); ++k) plane[k] = planes[k];
  for (size_t i = 0; i < count; ++i) {
    U x = 0;
#pragma GCC unroll 8
    for (size_t k = 0; k < sizeof(U); ++k)
      x = static_cast<U>(x | static_cast<U>(plane[k][i]) << (8 * k));
    put<U>(out, i, backward<T, U>(x, needs_base(T) ? get<U>(base, i) : U{0}));
  }
}

template <Transform T, typename U>
size_t compact_as(const uint8_t* __restrict in, const uint8_t* __restrict base, size_t count,
                  uint8_t* __restrict elements, uint8_t* __restrict nibbles) {
  size_t kept = 0;
  for (size_t i = 0; i < count; i += 4) {
    unsigned nibble = 0;
    for (size_t k = i; k < count && k < i + 4; ++k) {
      const U x = forward<T, U>(get<U>(in, k), needs_base(T) ? get<U>(base, k) : U{0});
      put<U>(elements, kept, x);  // written over by the next when it is zero
      kept += x != 0;
      nibble |= static_cast<unsigned>(x != 0) << (k - i);
    }
    nibbles[i / 4] = static_cast<uint8_t>(nibble);
  }
  return kept;
}

template <Transform T, typename U>
void spread_as(const uint8_t* __restrict elements, const uint8_t* __restrict nibbles,
               const uint8_t* __restrict base, size_t count, uint8_t* __restrict out) {
  size_t taken = 0;
  for (size_t i = 0; i < count; ++i) {
    const unsigned there = nibbles[i / 4] >> (i % 4) & 1;
    const U x =
        static_cast<U>(get<U>(elements, taken) & static_cast<U>(U{0} - static_cast<U>(there)));
    taken += there;
    put<U>(out, i, backward<T, U>(x, needs_base(T) ? get<U>(base, i) : U{0}));
  }
}

// Calls `use.template run<Transform, element type>()`.
template <typename U, typename Use>
void with_transform(Transform transform, const Use& use) {
  switch (transform) {
    case Transform::kNone:
      return use.template run<Transform::kNone, U>();
    case Transform::kRotate:
      return use.template run<Transform::kRotate, U>();
    case Transform::kFloatDifference:
      return use.template run<Transform::kFloatDifference, U>();
    case Transform::kIntDifference:
      return use.template run<Transform::kIntDifference, U>();
    case Transform::kXor:
      return use.template run<Transform::kXor, U>();
  }
}
template <typename Use>
void with_types(Transform transform, unsigned width, const Use& use) {
  switch (width) {
    case 1:
      return with_transform<uint8_t>(transform, use);
    case 2:
      return with_transform<uint16_t>(transform, use);
    case 4:
      return with_transform<uint32_t>(transform, use);
    case 8:
      return with_transform<uint64_t>(transform, use);
  }
}

struct Split {
  const uint8_t *in, *base;
  size_t count;
  uint8_t* planes;
  template <Transform T, typename U>
  void run() const {
    split_as<T, U>(in, base, count, planes);
  }
};
struct Merge {
  const uint8_t* const* planes;
  const uint8_t* base;
  size_t count;
  uint8_t* out;
  template <Transform T, typename U>
  void run() const {
    merge_as<T, U>(planes, base, count, out);
  }
};

struct Compact {
  const uint8_t *in, *base;
  size_t count;
  uint8_t *elements, *nibbles;
  size_t* kept;
  template <Transform T, typename U>
  void run() const {
    *kept = compact_as<T, U>(in, base, count, elements, nibbles);
  }
};
struct Spread {
  const uint8_t *elements, *nibbles, *base;
  size_t count;
  uint8_t* out;
  template <Transform T, typename U>
  void run() const {
    spread_as<T, U>(elements, nibbles, base, count, out);
  }
};

void split(Transform transform, unsigned width, const uint8_t* in, const uint8_t* base,
           size_t count, uint8_t* planes) {
  with_types(transform, width, Split{in, base, count, planes});
}
void merge(Transform transform, unsigned width, const uint8_t* const* planes, const uint8_t* base,
           size_t count, uint8_t* out) {
  with_types(transform, width, Merge{planes, base, count, out});
}

size_t compact(Transform transform, unsigned width, const uint8_t* in, const uint8_t* base,
               size_t count, uint8_t* elements, uint8_t* nibbles) {
  size_t kept = 0;
  with_types(transform, width, Compact{in, base, count, elements, nibbles, &kept});
  return kept;
}
void spread(Transform transform, unsigned width, const uint8_t* elements, const uint8_t* nibbles,
            const uint8_t* base, size_t count, uint8_t* out) {
  with_types(transform, width, Spread{elements, nibbles, base, count, out});
}

// Quantizing. No fused multiply-add anywhere: every instruction set must round alike (the build
// says -ffp-contract=off). Adding and taking away 1.5 × 2^23 rounds to the nearest integer, ties to
// even.
constexpr float kRounder = 12582912.0F;

inline float magnitude(float x) { return __builtin_fabsf(x); }
// Finite values stay 0; anything else is not a number from here on.
inline float poison(float x) { return x - x; }

template <bool kHasBase>
float largest_as(const float* __restrict x, const float* __restrict base, size_t count) {
  float most = 0, bad = 0;
  for (size_t i = 0; i < count; ++i) {
    const float d = kHasBase ? x[i] - base[i] : x[i];
    most = magnitude(d) > most ? magnitude(d) : most;
    bad = bad + poison(d);
  }
  return most + bad;
}
float largest(const float* x, const float* base, size_t count) {
  return base != nullptr ? largest_as<true>(x, base, count) : largest_as<false>(x, base, count);
}

template <bool kHasBase>
float quantize_as(const float* __restrict x, const float* __restrict base, size_t count, float step,
                  float most, int8_t* __restrict codes) {
  const float inverse = 1 / step;
  float error = 0, bad = 0;
  for (size_t i = 0; i < count; ++i) {
    const float before = kHasBase ? base[i] : 0.0F;
    float code = ((x[i] - before) * inverse + kRounder) - kRounder;
    code = code > most ? most : code;
    code = code < -most ? -most : code;
    codes[i] = static_cast<int8_t>(static_cast<int32_t>(code));
    const float off = x[i] - (before + code * step);
    error = magnitude(off) > error ? magnitude(off) : error;
    bad = bad + poison(off);
  }
  return error + bad;
}
float quantize(const float* x, const float* base, size_t count, float step, float most,
               int8_t* codes) {
  return base != nullptr ? quantize_as<true>(x, base, count, step, most, codes)
                         : quantize_as<false>(x, base, count, step, most, codes);
}

template <bool kHasBase>
void dequantize_as(const int8_t* __restrict codes, const float* __restrict base, size_t count,
                   float step, float* __restrict out) {
  for (size_t i = 0; i < count; ++i)
    out[i] = (kHasBase ? base[i] : 0.0F) + static_cast<float>(codes[i]) * step;
}
void dequantize(const int8_t* codes, const float* base, size_t count, float step, float* out) {
  if (base != nullptr) return dequantize_as<true>(codes, base, count, step, out);
  dequantize_as<false>(codes, base, count, step, out);
}

// Channels side by side: every loop over them is one over independent values, so that the order of
// no sum or maximum depends on the instruction set.
void range(const float* __restrict x, size_t rows, size_t width, float* __restrict low,
           float* __restrict high, uint32_t* __restrict zeros, float* __restrict odd) {
  for (size_t r = 0; r < rows; ++r, x += width)
    for (size_t c = 0; c < width; ++c) {
      low[c] = x[c] < low[c] ? x[c] : low[c];
      high[c] = x[c] > high[c] ? x[c] : high[c];
      zeros[c] += x[c] == 0 ? 1 : 0;
      odd[c] += poison(x[c]);
    }
}

void affine_encode(const float* __restrict x, size_t rows, size_t width,
                   const float* __restrict offset, const float* __restrict step,
                   const float* __restrict zero, uint8_t* __restrict codes,
                   float* __restrict error) {
  for (size_t r = 0; r < rows; ++r, x += width, codes += width)
    for (size_t c = 0; c < width; ++c) {
      float code = ((x[c] - offset[c]) / step[c] + kRounder) - kRounder + zero[c];
      code = code < 0 ? 0 : code;
      code = code > 255 ? 255 : code;
      codes[c] = static_cast<uint8_t>(static_cast<int32_t>(code));
      const float off = magnitude(x[c] - ((code - zero[c]) * step[c] + offset[c]));
      error[c] = off > error[c] ? off : error[c];
    }
}

void affine_decode(const uint8_t* __restrict codes, size_t rows, size_t width,
                   const float* __restrict offset, const float* __restrict step,
                   const float* __restrict zero, float* __restrict out, size_t stride) {
  for (size_t r = 0; r < rows; ++r, codes += width, out += stride)
    for (size_t c = 0; c < width; ++c)
      out[c] = (static_cast<float>(codes[c]) - zero[c]) * step[c] + offset[c];
}

}  // namespace
}  // namespace flor
