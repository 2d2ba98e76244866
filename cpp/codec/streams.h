// Streams of bytes inside of an encoding, each compressed by itself in the way that makes it
// smallest.
//
//   stream = u8 kind: 0 raw | 1 constant, u8 symbol | 2 zstd, u32 length, frame
//                     | 3 planes, u32 length, encoding (codec/planes.h)
//
// Its decoded length is known to the reader. Elements of w bytes make w streams, a plane each: what
// has one distribution is compressed with one table.
//
// Thread-safety: free functions without shared state.
#pragma once

#include <vector>

#include "base/bytes.h"
#include "codec/kernels.h"

namespace flor {

using Streams = std::vector<Buffer>;

// About how many bytes put_stream takes for these, by a fast zstd.
std::size_t quick_size(const Streams& streams);

// `level`: zstd's.
void put_stream(Bytes in, int level, ByteWriter& out);
// Throws kCorrupt.
Buffer get_stream(ByteReader& in, std::size_t size);

// Appends a stream a byte of the elements of `in`, transformed; `base` as long as `in`, or empty.
void add_planes(Transform transform, Bytes in, Bytes base, unsigned width, Streams& streams);
// The elements; `transform` needs no base.
Buffer get_planes(Transform transform, std::size_t count, unsigned width, ByteReader& in);

// The same of each element's difference to the one before, the first to 0.
void add_steps(Bytes in, unsigned width, Streams& streams);
Buffer get_steps(std::size_t count, unsigned width, ByteReader& in);

// Element `index` of `width` bytes, 1 to 8, as an integer.
std::uint64_t get_element(const std::byte* from, std::size_t index, unsigned width) noexcept;
void put_element(std::byte* to, std::size_t index, unsigned width, std::uint64_t value) noexcept;

}  // namespace flor
