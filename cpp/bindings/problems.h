// What a verification found, as Python sees it.
#pragma once

#include <pybind11/pybind11.h>

#include <vector>

#include "store/chunk_store.h"

namespace flor::bindings {

// A list of dicts: path, offset, id, problem. Needs the GIL.
inline pybind11::list to_python(const std::vector<StoreProblem>& problems) {
  pybind11::list out;
  for (const StoreProblem& problem : problems) {
    pybind11::dict entry;
    entry["path"] = problem.path;
    entry["offset"] = problem.offset;
    entry["id"] = problem.id;
    entry["problem"] = problem.problem;
    entry["covered"] = problem.covered;
    out.append(entry);
  }
  return out;
}

}  // namespace flor::bindings
