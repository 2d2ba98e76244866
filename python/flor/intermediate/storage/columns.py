"""Columns of tables as bytes and back: numbers as they are in memory, texts as UTF-8.

texts = i32 length × rows (of the UTF-8 bytes; -1: None, -2: NaN), UTF-8 bytes
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import CorruptError, InvalidError
from flor.intermediate.storage.codes import Array

_NONE, _NAN = -1, -2
IDENTITY_BYTES = 20


def as_column(name: str, values: Any, dtype: str, rows: int) -> Array:
    """Return a column as an array (rows,) of that dtype, a copy; raises InvalidError."""
    if hasattr(values, "to_numpy"):
        values = values.to_numpy()
    array: Array = np.asarray(values)
    if array.shape != (rows,):
        raise InvalidError(f"column {name!r} has the shape {array.shape}, not ({rows},)")
    if array.dtype != np.dtype(dtype):
        raise InvalidError(f"column {name!r} is {array.dtype}; its form says {dtype}")
    if array.dtype.kind not in "biufcmMUOS":
        raise InvalidError(f"column {name!r} has the dtype {dtype}, which can't be kept")
    return array.copy()


def bytes_of(values: Array) -> NDArray[np.uint8]:
    """Return the memory of an array, in the order of C; of any dtype, also of dates."""
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def content_of(name: str, values: Array) -> Any:
    """Return the bytes of a column; equal bytes are equal values. Raises InvalidError."""
    if values.dtype.kind not in "UO":
        return bytes_of(values)
    lengths = np.empty(len(values), "<i4")
    texts: list[bytes] = []
    for at, value in enumerate(values.tolist()):
        if isinstance(value, str):
            texts.append(value.encode("utf-8", "surrogatepass"))
            lengths[at] = len(texts[-1])
        elif value is None or (isinstance(value, float) and math.isnan(value)):
            lengths[at] = _NONE if value is None else _NAN
        else:
            raise InvalidError(
                f"column {name!r} holds a {type(value).__name__} among its objects; texts, None "
                "and NaN can be kept: convert it"
            )
    return lengths.tobytes() + b"".join(texts)


def column_of(content: Any, dtype: str, rows: int) -> Array:
    """Return the column that :func:`content_of` took; raises CorruptError."""
    kind = np.dtype(dtype)
    if kind.kind not in "UO":
        return np.frombuffer(content, kind, rows).copy()
    lengths = np.frombuffer(content, "<i4", rows)
    ends = (np.maximum(lengths, 0).cumsum() + lengths.nbytes).tolist()
    if (ends[-1] if ends else 0) != len(content):
        raise CorruptError("a kept column of texts is damaged: its lengths do not fit")
    whole, begin = bytes(content), lengths.nbytes
    values: list[Any] = []
    for length, end in zip(lengths.tolist(), ends, strict=True):
        if length >= 0:
            values.append(whole[begin:end].decode("utf-8", "surrogatepass"))
        else:
            values.append(None if length == _NONE else math.nan)
        begin = end
    if kind.kind == "U":
        return np.array(values, kind) if values else np.zeros(0, kind)
    out = np.empty(rows, object)
    out[:] = values
    return out


def element_of(dtype: str) -> tuple[int, bool]:
    """Return (bytes of an element, whether it is a float) for the core's encoding of columns."""
    kind = np.dtype(dtype)
    if kind.kind in "UOS":
        return 1, False
    width = next(size for size in (8, 4, 2, 1) if kind.itemsize % size == 0)
    return width, kind.kind in "fc" and kind.itemsize in (width, 2 * width)


def identity_of(*parts: Any) -> bytes:
    """Return the name of content that is not looked at again: SHA-256, cut to 20 bytes."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()[:IDENTITY_BYTES]
