// A held, C-contiguous Python buffer: the only way bytes of Python objects enter the core.
//
// The export is held until the view dies, so the memory can neither move nor be freed.
// Non-contiguous objects raise (PyBUF_SIMPLE); pybind11's buffer_info would hand out wrong bytes
// for them without an error. Construction and destruction need the GIL; reading `bytes()` does not.
#pragma once

#include <pybind11/pybind11.h>

#include "base/bytes.h"

namespace flor::bindings {

class BufferView {
 public:
  explicit BufferView(pybind11::handle object, bool writable = false) {
    if (PyObject_GetBuffer(object.ptr(), &view_, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) != 0)
      throw pybind11::error_already_set();
  }
  ~BufferView() {
    if (view_.obj != nullptr) PyBuffer_Release(&view_);
  }
  BufferView(BufferView&& other) noexcept : view_(other.view_) { other.view_.obj = nullptr; }
  BufferView(const BufferView&) = delete;
  BufferView& operator=(const BufferView&) = delete;
  BufferView& operator=(BufferView&&) = delete;

  Bytes bytes() const noexcept {
    return {static_cast<const std::byte*>(view_.buf), static_cast<std::size_t>(view_.len)};
  }
  MutableBytes mutable_bytes() const noexcept {
    return {static_cast<std::byte*>(view_.buf), static_cast<std::size_t>(view_.len)};
  }

 private:
  Py_buffer view_{};
};

}  // namespace flor::bindings
