#include "codec/quantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "base/error.h"
#include "codec/plane_list.h"

namespace flor {
namespace {

constexpr unsigned kLeastBits = 2, kMostBits = 8;

[[noreturn]] void throw_corrupt(const char* what) {
  throw Error(ErrorKind::kCorrupt,
              std::string("bytes are not a valid quantized encoding: ") + what);
}

const float* at(std::span<const float> base, std::size_t index) {
  return base.empty() ? nullptr : base.data() + index;
}

// The step that makes the largest value the largest code. Not a number when there is none: a value
// is not finite, or so small or large that its step is no normal float.
float step_of(float largest, float most) {
  const float step = largest / most;
  if (largest == 0) return 1;
  return std::isnormal(step) && std::isfinite(1 / step) ? step
                                                        : std::numeric_limits<float>::quiet_NaN();
}

thread_local std::vector<std::uint8_t> codes_scratch;

std::span<std::int8_t> codes_room(std::size_t count) {
  if (codes_scratch.size() < count) codes_scratch.resize(count);
  return {reinterpret_cast<std::int8_t*>(codes_scratch.data()), count};
}
std::span<std::uint8_t> as_symbols(std::span<std::int8_t> codes) {
  return {reinterpret_cast<std::uint8_t*>(codes.data()), codes.size()};
}

}  // namespace

float quantize(std::span<const float> values, std::span<const float> base, unsigned bits,
               Buffer& out, const Kernels& kernels) {
  if (bits < kLeastBits || bits > kMostBits)
    throw Error(ErrorKind::kInvalid, "a quantizer has 2 to 8 bits", {}, Error::kNoOffset, "2 to 8",
                std::to_string(bits));
  if (!base.empty() && base.size() != values.size())
    throw Error(ErrorKind::kInvalid, "a base must be as long as what is quantized");
  const auto most = static_cast<float>((1 << (bits - 1)) - 1);
  const std::span<std::int8_t> codes = codes_room(values.size());
  ByteWriter steps, exact;
  float error = 0;
  for (std::size_t i = 0; i < values.size(); i += kQuantizeBlock) {
    const std::size_t count = std::min(kQuantizeBlock, values.size() - i);
    const float* const x = values.data() + i;
    float step = step_of(kernels.largest(x, at(base, i), count), most);
    float off = std::numeric_limits<float>::quiet_NaN();
    if (!std::isnan(step))
      off = kernels.quantize(x, at(base, i), count, step, most, codes.data() + i);
    if (std::isnan(off)) {
      step = off;
      std::fill_n(codes.data() + i, count, std::int8_t{0});
      exact.put_bytes({reinterpret_cast<const std::byte*>(x), count * sizeof *x});
    } else {
      error = std::max(error, off);
    }
    steps.put(step);
  }
  ByteWriter writer(std::move(out));
  writer.put(static_cast<std::uint8_t>(bits));
  writer.put(static_cast<std::uint8_t>(!base.empty()));
  writer.put_sized(steps.view());
  const std::span<const std::uint8_t> plane = as_symbols(codes);
  write_planes(kernels, {&plane, 1}, writer);
  writer.put_bytes(exact.view());
  out = std::move(writer).take();
  return error;
}

void dequantize(Bytes in, std::span<const float> base, std::span<float> out,
                const Kernels& kernels) {
  ByteReader reader(in);
  const auto bits = reader.get<std::uint8_t>(), has_base = reader.get<std::uint8_t>();
  const Bytes steps = reader.get_sized();
  const std::size_t blocks = (out.size() + kQuantizeBlock - 1) / kQuantizeBlock;
  if (!reader.ok() || bits < kLeastBits || bits > kMostBits || has_base > 1 ||
      steps.size() != blocks * sizeof(float))
    throw_corrupt("its head does not fit");
  if (base.size() != (has_base != 0 ? out.size() : 0)) throw_corrupt("its base does not fit");
  const std::span<std::uint8_t> room = as_symbols(codes_room(out.size()));
  const std::uint8_t* plane = nullptr;
  read_planes(kernels, {&room, 1}, reader, {&plane, 1});
  const auto* const codes = reinterpret_cast<const std::int8_t*>(plane);
  for (std::size_t block = 0; block < blocks; ++block) {
    const std::size_t i = block * kQuantizeBlock, count = std::min(kQuantizeBlock, out.size() - i);
    const auto step = load<float>(steps.data() + block * sizeof(float));
    if (!std::isnan(step)) {
      kernels.dequantize(codes + i, at(base, i), count, step, out.data() + i);
    } else if (const Bytes exact = reader.get_bytes(count * sizeof(float)); !exact.empty()) {
      std::memcpy(out.data() + i, exact.data(), exact.size());
    }
  }
  if (!reader.ok() || reader.remaining() != 0)
    throw_corrupt("it has another length than it should");
}

}  // namespace flor
