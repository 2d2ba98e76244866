// Calls a Python function from work that runs without the GIL, at most twenty times a second.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>

#include "base/clock.h"
#include "store/chunk_store.h"

namespace flor::bindings {

// Nothing for None. The call is skipped when the last one was less than 50 ms ago and work is left;
// what the function raises ends the work. Needs the GIL; so does letting go of the result.
inline Progress progress_to(const pybind11::object& function) {
  if (function.is_none()) return {};
  return [function, last = std::int64_t{0}](std::uint64_t done, std::uint64_t total) mutable {
    const std::int64_t now = monotonic_ns();
    if (done != total && now - last < 50'000'000) return;
    last = now;
    const pybind11::gil_scoped_acquire gil;
    function(done, total);
  };
}

}  // namespace flor::bindings
