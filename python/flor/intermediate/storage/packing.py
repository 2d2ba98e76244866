"""Lists of the catalogue as few bytes: numbers, row ids, forms. Thread-safe: functions only."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import CorruptError
from flor.intermediate.forms import Form, Part


def pack_numbers(numbers: Sequence[int] | NDArray[Any]) -> bytes:
    """Return int32 numbers compressed: differences, whose bytes are few."""
    array = np.asarray(numbers, np.int32)
    return zlib.compress(np.diff(array, prepend=np.int32(0)).astype("<i4").tobytes(), 9)


def unpack_numbers(blob: bytes) -> NDArray[np.int32]:
    """Return what :func:`pack_numbers` took; raises CorruptError."""
    return np.cumsum(np.frombuffer(_inflated(blob), "<i4"), dtype=np.int32)


def pack_row_ids(ids: NDArray[np.int64]) -> bytes:
    """Return row ids compressed: differences, byte by byte of all of them."""
    steps = np.diff(ids, prepend=np.int64(0)).astype("<i8")
    return zlib.compress(steps.view(np.uint8).reshape(-1, 8).T.tobytes(), 9)


def unpack_row_ids(blob: bytes, count: int) -> NDArray[np.int64]:
    """Return what :func:`pack_row_ids` took; raises CorruptError."""
    flat = np.frombuffer(_inflated(blob), np.uint8)
    if flat.size != 8 * count:
        raise CorruptError("row ids in the catalogue are damaged")
    steps = np.ascontiguousarray(flat.reshape(8, count).T).view("<i8").reshape(count)
    return np.cumsum(steps, dtype=np.int64)


def pack_form(form: Form) -> bytes:
    """Return a form as compressed JSON."""
    told: dict[str, Any]
    shape = form.unit_shape
    if shape is not None and form.parts and form == Form.tensor(shape, form.parts[0].dtype):
        told = {"tensor": list(shape), "dtype": form.parts[0].dtype}
    else:
        parts = [[part.name, part.dtype, list(part.shape)] for part in form.parts]
        told = {"parts": parts, "unit_shape": None if shape is None else list(shape)}
    return zlib.compress(json.dumps(told, separators=(",", ":")).encode(), 9)


def unpack_form(blob: bytes) -> Form:
    """Return what :func:`pack_form` took; raises CorruptError."""
    try:
        told = json.loads(_inflated(blob))
        if "tensor" in told:
            return Form.tensor(tuple(told["tensor"]), told["dtype"])
        parts = tuple(Part(name, dtype, tuple(shape)) for name, dtype, shape in told["parts"])
        shape = told["unit_shape"]
        return Form(parts, None if shape is None else tuple(shape))
    except (ValueError, KeyError, TypeError) as cause:
        raise CorruptError(f"a form in the catalogue is damaged: {cause}") from cause


def check_of(values: Sequence[Any]) -> int:
    """Return a checksum of the values of a row, which SQLite has none of."""
    return zlib.crc32(repr(tuple(values)).encode())


def _inflated(blob: bytes) -> bytes:
    try:
        return zlib.decompress(blob)
    except zlib.error as cause:
        raise CorruptError(f"a list in the catalogue is damaged: {cause}") from cause
