// Golden files: bytes that every later version must read. tests/golden/make writes them anew.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "base/bytes.h"

namespace flor::testing {

// The bytes of tests/golden/<name>. With FLOR_WRITE_GOLDEN set, `made` is written there first.
inline Buffer golden_file(const std::string& name, Bytes made) {
  const auto path = std::filesystem::path(FLOR_GOLDEN_DIR) / name;
  if (std::getenv("FLOR_WRITE_GOLDEN") != nullptr) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(made.data()),
              static_cast<std::streamsize>(made.size()));
  }
  std::ifstream in(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const Bytes bytes = as_bytes(text);
  return {bytes.begin(), bytes.end()};
}

}  // namespace flor::testing
