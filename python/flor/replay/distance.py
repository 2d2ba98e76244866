"""How far two values are apart, and how a value is shown in a report."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from flor.errors import FlorError
from flor.query.store import Blobs
from flor.replay.records import (
    ARRAY,
    BOOL,
    BYTES,
    EXTERNAL,
    FLOAT,
    INT,
    JSON,
    Record,
    python_value,
)

_SHOWN = 200


def shown(record: Record) -> Any:
    """Return a record's value as JSON can hold it, long ones cut."""
    value = python_value(record)
    kind = record.kind & ~EXTERNAL
    if record.kind & EXTERNAL:
        return {"ref": value.hex()}
    if kind in (JSON, ARRAY):
        text = value.decode("utf-8", "backslashreplace")
        return json.loads(text) if kind == ARRAY or len(text) <= _SHOWN else text[:_SHOWN] + "…"
    if kind == BYTES:
        value = base64.b64encode(value).decode()
    return value[:_SHOWN] + "…" if isinstance(value, str) and len(value) > _SHOWN else value


def distance(one: Record, other: Record, store: Path) -> float | None:
    """Return the distance of two numbers, the largest of two arrays of one shape; else None."""
    numbers = (INT, FLOAT, BOOL)
    if one.kind in numbers and other.kind in numbers:
        return abs(float(python_value(one)) - float(python_value(other)))
    if one.kind == other.kind == ARRAY:
        try:
            blobs = Blobs(store)
            first, second = (blobs.array(json.loads(r.value)) for r in (one, other))
            return _apart(first, second)
        except (FlorError, ValueError, TypeError, KeyError):
            return None
    return None


def _apart(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float | None:
    if first.shape != second.shape or not first.size:
        return None
    kinds = (first.dtype.kind, second.dtype.kind)
    wide = np.complex128 if "c" in kinds else np.float64
    return float(np.abs(first.astype(wide) - second.astype(wide)).max())
