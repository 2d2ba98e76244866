// Python values as record payloads.
//
// Thread-safety: needs the GIL.
#pragma once

#include <Python.h>

#include "base/bytes.h"

namespace flor::bindings {

struct EncodedValue {
  std::uint8_t kind = 0;
  Bytes payload;  // points into `small` or into the Python object
  std::byte small[8];
};

// Encodes an exact float, int (of 64 bits), bool, None, str or bytes. False, without a Python
// error, for everything else.
bool encode_exact(PyObject* value, EncodedValue& out) noexcept;

// As encode_exact, and also subclasses of those types, and larger ints (as JSON text, held by
// `*holder`). False with a Python error set.
bool encode_any(PyObject* value, EncodedValue& out, PyObject** holder) noexcept;

}  // namespace flor::bindings
