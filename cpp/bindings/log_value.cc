#include "bindings/log_value.h"

#include "format/record_frame.h"

namespace flor::bindings {
namespace {

template <typename T>
bool put_small(EncodedValue& out, ValueKind kind, T value) noexcept {
  store(out.small, value);
  out.kind = static_cast<std::uint8_t>(kind);
  out.payload = {out.small, sizeof value};
  return true;
}

bool put_bytes(EncodedValue& out, ValueKind kind, const char* data, Py_ssize_t size) noexcept {
  out.kind = static_cast<std::uint8_t>(kind);
  out.payload = {reinterpret_cast<const std::byte*>(data), static_cast<std::size_t>(size)};
  return true;
}

bool encode_int(PyObject* value, EncodedValue& out) noexcept {
  int overflow = 0;
  const long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
  if (overflow != 0) return false;
  return put_small(out, ValueKind::kInt64, static_cast<std::int64_t>(number));
}

bool encode_str(PyObject* value, EncodedValue& out) noexcept {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(value, &size);
  return text != nullptr && put_bytes(out, ValueKind::kString, text, size);
}

}  // namespace

bool encode_exact(PyObject* value, EncodedValue& out) noexcept {
  const PyTypeObject* type = Py_TYPE(value);
  if (type == &PyFloat_Type) return put_small(out, ValueKind::kFloat64, PyFloat_AS_DOUBLE(value));
  if (type == &PyLong_Type) return encode_int(value, out);
  if (type == &PyBool_Type)
    return put_small(out, ValueKind::kBool, static_cast<std::uint8_t>(value == Py_True));
  if (value == Py_None) return put_bytes(out, ValueKind::kNull, nullptr, 0);
  if (type == &PyBytes_Type)
    return put_bytes(out, ValueKind::kBytes, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
  if (type != &PyUnicode_Type) return false;
  if (encode_str(value, out)) return true;
  PyErr_Clear();  // lone surrogates: the slow path says so better
  return false;
}

bool encode_any(PyObject* value, EncodedValue& out, PyObject** holder) noexcept {
  *holder = nullptr;
  if (encode_exact(value, out)) return true;
  if (PyFloat_Check(value)) return put_small(out, ValueKind::kFloat64, PyFloat_AS_DOUBLE(value));
  if (PyUnicode_Check(value)) return encode_str(value, out);
  if (PyBytes_Check(value))
    return put_bytes(out, ValueKind::kBytes, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value));
  if (PyLong_Check(value)) {
    if (encode_int(value, out)) return true;
    *holder = PyNumber_ToBase(value, 10);
    if (*holder == nullptr || !encode_str(*holder, out)) return false;
    out.kind = static_cast<std::uint8_t>(ValueKind::kJson);
    return true;
  }
  PyErr_Format(PyExc_TypeError,
               "a log value must be None, bool, int, float, str or bytes, not %.200s",
               Py_TYPE(value)->tp_name);
  return false;
}

}  // namespace flor::bindings
