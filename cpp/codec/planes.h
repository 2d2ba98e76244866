// The lossless chain for numbers: transform each element (rotate a float's sign away, or take its
// difference to a base), leave out zeros where there are many, lay the bytes of the others out in
// planes, and store each plane as it pays. Exponents are few and compress, mantissas are noise and
// pass through.
//
// Thread-safety: free functions without shared state.
#pragma once

#include "base/bytes.h"
#include "codec/kernels.h"
#include "codec/layout.h"

namespace flor {

// Replaces `out`. A `base` has the length of `in` and is given exactly when the transform needs
// one.
void encode_planes(PlaneLayout layout, Bytes in, Bytes base, Buffer& out,
                   const Kernels& kernels = flor::kernels());
// Fills `out` exactly. Throws kCorrupt when `in` is not an encoding of that many bytes with that
// base.
void decode_planes(Bytes in, Bytes base, MutableBytes out,
                   const Kernels& kernels = flor::kernels());

}  // namespace flor
