"""Logged values that the core does not take by itself: arrays, tensors, JSON, and what is too large
for a ring.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from flor import _core
from flor.errors import InvalidError, SerializationError

_STRING, _BYTES, _JSON, _ARRAY, _EXTERNAL = 4, 5, 6, 7, 0x80
INLINE_LIMIT_BYTES = 64 << 10
_PLAIN_KINDS: tuple[Any, ...] = (bool, int, float, str, bytes)

Put = Callable[[Any], bytes]


class _Active:
    """The active writer and the calling thread's context, with the interface of a LogWriter."""

    def log(self, name: str, value: Any, context: Any) -> None:
        _core.log(name, value)

    def log_encoded(self, name: str, kind: int, payload: Any, context: Any) -> None:
        _core.log_encoded(name, kind, payload)


def log_value(name: object, value: Any, put: Put) -> None:
    """Log to the active writer in the current context; see :func:`write_value`."""
    write_value(_Active(), name, value, None, put)


def write_value(
    writer: Any, name: object, value: Any, context: list[tuple[str, int]] | None, put: Put
) -> None:
    """Log any value that the log can hold.

    ``put`` stores bytes and returns their reference. Raises InvalidError for a name that is not a
    string, SerializationError for a value that the log can't hold.
    """
    if not isinstance(name, str):
        raise InvalidError(
            f"flor.log: the name must be a string, not {type(name).__name__} ({name!r})"
        )
    plain = _plain(value)
    if _fits(plain):
        _checked(name, plain)
        writer.log(str(name), plain, context)
        return
    kind, payload = _encode(name, plain, put)
    if kind != _ARRAY and len(payload) > INLINE_LIMIT_BYTES:
        kind, payload = kind | _EXTERNAL, put(payload)
    writer.log_encoded(str(name), kind, payload, context)


def _fits(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return len(value) * 4 <= INLINE_LIMIT_BYTES
    if kind is bytes:
        return len(value) <= INLINE_LIMIT_BYTES
    return kind in (float, bool, type(None)) or (kind is int and -(2**63) <= value < 2**63)


def _plain(value: Any) -> Any:
    """Reduce scalars of libraries and subclasses of plain types to plain values."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        value = value.detach()
        return value.item() if value.dim() == 0 else value
    if isinstance(value, np.generic) and not isinstance(value, np.void):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.item() if value.ndim == 0 and value.dtype.kind in "biuf" else value
    for kind in _PLAIN_KINDS:
        if isinstance(value, kind):
            return kind(value)
    return bytes(value) if isinstance(value, (bytearray, memoryview)) else value


def _checked(name: str, value: Any) -> bytes:
    """Return a string as UTF-8; SerializationError where it is not text."""
    try:
        return value.encode() if isinstance(value, str) else b""
    except UnicodeEncodeError:
        raise SerializationError(
            f"flor.log({name!r}): the string holds a lone surrogate, which is not text; "
            "log ascii(value), or os.fsencode(value) for a file name"
        ) from None


def _encode(name: str, value: Any, put: Put) -> tuple[int, bytes]:
    if isinstance(value, str):
        return _STRING, _checked(name, value)
    if isinstance(value, bytes):
        return _BYTES, value
    if isinstance(value, np.ndarray) or type(value).__module__.startswith("torch"):
        return _ARRAY, _array(name, value, put)
    try:
        return _JSON, json.dumps(value, default=_json_part).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SerializationError(
            f"flor.log({name!r}): a {type(value).__qualname__} can't be stored ({error}); "
            "log numbers, strings, lists, dicts, arrays or tensors, or str(value)"
        ) from None


def _json_part(part: Any) -> Any:
    plain = _plain(part)
    reduced = plain is not part or isinstance(plain, (int, float, str))
    if reduced and not isinstance(plain, bytes) and not hasattr(plain, "tolist"):
        return plain
    if hasattr(plain, "tolist") and not isinstance(plain, type):
        return plain.tolist()
    if isinstance(part, (set, frozenset)):
        raise TypeError("a set has no order; log sorted(value)")
    raise TypeError(f"it holds a {type(part).__qualname__}")


def _array(name: str, value: Any, put: Put) -> bytes:
    if not isinstance(value, np.ndarray):
        from flor.capture.export import tensor_bytes

        narrow = "float8" in str(value.dtype)  # NumPy has no such type: float32 holds it exactly
        dtype, shape, raw = tensor_bytes(value.float() if narrow else value)
    elif value.dtype.hasobject or value.dtype.names is not None:
        raise SerializationError(
            f"flor.log({name!r}): an array of dtype {value.dtype} can't be stored; "
            "log a numeric array"
        )
    else:
        dtype, shape = value.dtype.str, list(value.shape)
        raw = np.ascontiguousarray(value).tobytes()
    if math.prod(shape) == 0:
        raw = b""
    return json.dumps({"dtype": dtype, "shape": shape, "ref": put(raw).hex()}).encode()
