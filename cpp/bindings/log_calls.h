// The calls that a training loop makes per value and per iteration: plain METH_FASTCALL functions,
// because pybind11's dispatcher alone costs more than the record.
//
// Thread-safety: each needs the GIL, which log() gives up only while it waits for space in a full
// ring.
#pragma once

#include <pybind11/pybind11.h>

#include "bindings/log_thread.h"

namespace flor::bindings {

// log, log_encoded and the context_ functions; docstrings in log_calls.cc.
void add_log_calls(pybind11::module_& module);

// The id of a name in a lane, from its cache or from its ring. The name must be an exact str.
Written find_name(Lane& lane, const LogWriter* explicit_writer, PyObject* name, std::uint32_t& id);

}  // namespace flor::bindings
