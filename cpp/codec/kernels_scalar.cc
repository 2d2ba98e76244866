// For every processor. On AArch64 the compiler's baseline makes NEON of the loops over planes.
#include "codec/kernels_loops.h"
#include "codec/rans_loops.h"

namespace flor {
namespace {

struct Lane {
  static constexpr size_t kWidth = 1;
  uint32_t v;

  static Lane load(const uint32_t* from) { return {*from}; }
  static Lane load_bytes(const uint8_t* from) { return {*from}; }
  static Lane all(uint32_t value) { return {value}; }
  static Lane gather(const uint32_t* table, Lane index) { return {table[index.v]}; }
  void save(uint32_t* to) const { *to = v; }
  void save_bytes(uint8_t* to) const { *to = static_cast<uint8_t>(v); }

  Lane operator&(Lane o) const { return {v & o.v}; }
  Lane operator+(Lane o) const { return {v + o.v}; }
  Lane operator-(Lane o) const { return {v - o.v}; }
  Lane operator*(Lane o) const { return {v * o.v}; }
  template <int N>
  Lane shift_left() const {
    return {v << N};
  }
  template <int N>
  Lane shift_right() const {
    return {v >> N};
  }
  Lane shift_right_by(Lane o) const { return {v >> o.v}; }
  Lane multiply_high(Lane o) const { return {static_cast<uint32_t>(uint64_t{v} * o.v >> 32)}; }
  bool at_least(Lane o) const { return v >= o.v; }
  bool below(Lane o) const { return v < o.v; }
  Lane give_words(bool mask, uint8_t*& at) const {
    if (!mask) return *this;
    at -= 2;
    put(at, 0, static_cast<uint16_t>(v));
    return {v >> 16};
  }
  Lane take_words(bool mask, const uint8_t*& at) const {
    if (!mask) return *this;
    const uint16_t word = get<uint16_t>(at, 0);
    at += 2;
    return {v << 16 | word};
  }
};

}  // namespace

extern const Kernels kScalarKernels{
    "scalar",          &split,   &merge, &compact,       &spread,        &quantize,
    &dequantize,       &largest, &range, &affine_encode, &affine_decode, &rans_encode<Lane>,
    &rans_decode<Lane>};

}  // namespace flor
