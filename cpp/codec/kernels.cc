#include "codec/kernels.h"

#include <array>

namespace flor {

extern const Kernels kScalarKernels;
#if defined(FLOR_X86_KERNELS)
extern const Kernels kAvx2Kernels, kAvx512Kernels;
#endif

namespace {

struct Available {
  std::array<const Kernels*, 3> list{};
  std::size_t count = 0;
  Available() {
    list[count++] = &kScalarKernels;
#if defined(FLOR_X86_KERNELS)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt"))
      list[count++] = &kAvx2Kernels;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && count == 2)
      list[count++] = &kAvx512Kernels;
#endif
  }
};

const Available& available() noexcept {
  static const Available found;
  return found;
}

}  // namespace

const Kernels& kernels() noexcept { return *available().list[available().count - 1]; }

std::span<const Kernels* const> all_kernels() noexcept {
  return {available().list.data(), available().count};
}

}  // namespace flor
