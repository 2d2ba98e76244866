// The context_ functions of the module, and the checks of encoded payloads.
//
// Thread-safety: needs the GIL.
#pragma once

#include <pybind11/pybind11.h>

#include <optional>

#include "base/bytes.h"
#include "bindings/buffer_view.h"

namespace flor::bindings {

void add_context_calls(pybind11::module_& module);

// A record kind from a Python int. Throws Invalid.
std::uint8_t checked_kind(PyObject* kind);

// The bytes of a bytes-like object or str, of the width that `kind` demands. Throws Invalid or
// TypeError.
class Payload {
 public:
  Payload(PyObject* object, std::uint8_t kind);
  Bytes bytes() const noexcept { return bytes_; }

 private:
  std::optional<BufferView> view_;
  Bytes bytes_;
};

}  // namespace flor::bindings
