// The lossless chain for numbers: transform each element (rotate a float's sign away, or take its
// difference to a base), lay its bytes out in planes, and store each plane as it pays: constant,
// raw or entropy-coded. Exponents are few and compress, mantissas are noise and pass through.
//
// Thread-safety: free functions without shared state.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "codec/kernels.h"

namespace flor {

// How bytes are read as elements. Content need not be numbers: any layout is lossless for any
// bytes.
struct PlaneLayout {
  std::uint8_t width = 1;  // bytes an element: 1, 2, 4, 8
  Transform transform = Transform::kNone;
  bool operator==(const PlaneLayout&) const = default;
};

// Which layout makes some bytes smallest, and to what share of them, both judged by a sample.
struct LayoutChoice {
  PlaneLayout layout;
  double share = 1;  // estimated stored bytes / bytes
};
// Among the layouts without a base.
LayoutChoice choose_layout(Bytes bytes);
// Among the differences to `base`, which has as many bytes.
LayoutChoice choose_difference(Bytes bytes, Bytes base);

// Replaces `out`. A `base` has the length of `in` and is given exactly when the transform needs
// one.
void encode_planes(PlaneLayout layout, Bytes in, Bytes base, Buffer& out,
                   const Kernels& kernels = flor::kernels());
// Fills `out` exactly. Throws kCorrupt when `in` is not an encoding of that many bytes with that
// base.
void decode_planes(Bytes in, Bytes base, MutableBytes out,
                   const Kernels& kernels = flor::kernels());

}  // namespace flor
