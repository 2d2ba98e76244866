// Content for the microbenchmarks, and a folder that goes away.
#pragma once

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "base/bytes.h"

namespace flor::bench {

// Floats like trained weights: normal, small, no two alike. `moved`: how far each is from the same
// one of moved = 0, in parts of itself.
inline Buffer weights(std::size_t count, double moved = 0) {
  Buffer out(count * sizeof(float));
  std::uint64_t state = 0x9E3779B97F4A7C15ULL;
  const auto uniform = [&state] {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (static_cast<double>(state >> 11) + 0.5) * 0x1p-53;
  };
  for (std::size_t i = 0; i < count; ++i) {
    const double normal =
        std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform());
    const double step = uniform() - 0.5;
    store(out.data() + i * sizeof(float), static_cast<float>(0.02 * normal * (1 + moved * step)));
  }
  return out;
}

template <typename T>
Bytes bytes_of(const T& value) noexcept {
  return {reinterpret_cast<const std::byte*>(&value), sizeof value};
}

class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = std::filesystem::temp_directory_path() / "flor-bench-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    path_ = name;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

}  // namespace flor::bench
