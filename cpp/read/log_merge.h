// Merges the streams of all rings into one table, ordered by time.
//
// Thread-safety: a free function without state.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "read/log_stream.h"

namespace flor {

struct LogRing {
  std::int32_t writer = 0;  // number in LogTable::writers
  std::int32_t ring = 0;
  std::unique_ptr<LogStream> stream;
};

// Appends the rows of `rings` to `table`; ties in time go by the order of `rings`. Frees each
// stream's rows only at the end. `dictionary` gives its names to the table.
void merge_rings(const std::vector<LogRing>& rings, LogDictionary& dictionary, LogTable& table);

}  // namespace flor
