// What the module is made of: one bind_<domain>.cc per layer, each registering its own names.
#pragma once

#include <pybind11/pybind11.h>

namespace flor::bindings {

void bind_log(pybind11::module_& module);           // LogWriter, log(), the context stack
void bind_codec(pybind11::module_& module);         // codecs by themselves, for measuring and tests
void bind_intermediate(pybind11::module_& module);  // encodings of blocks and columns
void bind_store(pybind11::module_& module);         // ChunkStore
void bind_sweep(pybind11::module_& module);         // Sweeper
void bind_snapshot(pybind11::module_& module);      // Snapshotter, Pending
void bind_read(pybind11::module_& module);          // CheckpointReader
void bind_audit(pybind11::module_& module);         // set_file_listener
void bind_identity(pybind11::module_& module);      // watch_array, watched_array
void bind_log_read(pybind11::module_& module);      // read_log
void bind_regions(pybind11::module_& module);       // describe_tensor, memory, samples

}  // namespace flor::bindings
