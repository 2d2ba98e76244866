// How bytes are read as elements for the codec of planes, and a judge of which way is best.
//
// Thread-safety: free functions and values without shared state.
#pragma once

#include <cstdint>

#include "base/bytes.h"
#include "codec/kernels.h"

namespace flor {

// Content need not be numbers: any layout is lossless for any bytes.
struct PlaneLayout {
  std::uint8_t width = 1;  // bytes an element: 1, 2, 4, 8
  Transform transform = Transform::kNone;
  bool sparse = false;  // elements that are zero after the transform are left out
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

}  // namespace flor
