// A column of a table in as few bytes as several chains can: each is tried with a fast zstd, the
// two best are encoded in earnest, the smaller one is kept. Slow to encode (a few MB/s), fast to
// decode: for what is written once, in the background, and shared by many.
//
//   column = u8 chain, u8 width, body               n elements of `width` bytes
//
//   chain          body
//   0 plain        stream
//   1 planes       stream × width                   byte k of all elements
//   2 rotated      stream × width                   of the elements rotated left by one bit
//   3 steps        stream × width                   zigzag of the difference to the element before
//   4 dictionary   u32 distinct, u8 code width, stream × width: the distinct elements ascending, as
//                  steps; stream × code width: which of them each element is
//   5 decimals     u8 places, u8 integer width, u32 odd, i64 least, [mask stream, odd stream],
//                  stream × integer width           codec/decimals.h, the integers minus the least
//   6 decimals     the same, the integers as steps
//   7 difference   planes encoding with a base      codec/planes.h
//
// Streams are those of codec/streams.h; the first step is the difference to 0.
// Thread-safety: free functions without shared state.
#pragma once

#include "base/bytes.h"

namespace flor {

struct ColumnKind {
  unsigned width = 1;     // bytes an element: 1, 2, 4, 8
  bool floating = false;  // elements are floats; of 4 or 8 bytes they may be decimals
};

// Replaces `out`. `base`: empty, or as many bytes that may be like these. `level`: zstd's. Throws
// kInvalid when the width does not divide the bytes or the base does not fit.
void encode_column(Bytes in, ColumnKind kind, Bytes base, int level, Buffer& out);

// Whether decoding `in` needs the base that it was encoded with.
bool column_needs_base(Bytes in) noexcept;

// Fills `out`. Throws kCorrupt when `in` is not an encoding of that many bytes with that base.
void decode_column(Bytes in, Bytes base, MutableBytes out);

}  // namespace flor
