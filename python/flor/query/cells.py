"""One value of a table as Python sees it, as JSON has it, and as text shows it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from flor.query.kinds import JSON_MARK, is_array, is_mixed
from flor.query.store import Blobs

Decode = Callable[[Any], Any]


def is_context(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is a context: a list of structs (loop, index)."""
    if not pa.types.is_list(kind) or not pa.types.is_struct(kind.value_type):
        return False
    step = kind.value_type
    return [step.field(i).name for i in range(step.num_fields)] == ["loop", "index"]


def is_json(field: pa.Field) -> bool:
    """Return whether a column holds JSON text."""
    return bool((field.metadata or {}).get(b"flor") == JSON_MARK[b"flor"])


def decoder(field: pa.Field, blobs: Blobs) -> Decode | None:
    """Return how a cell of this column becomes the value that was logged; None: it is already.

    Contexts become tuples of (loop, index), arrays numpy arrays read from the store, JSON its
    objects, a mixed cell the one value it holds.
    """
    kind = field.type
    if is_context(kind):
        return lambda steps: tuple((step["loop"], step["index"]) for step in steps)
    if is_json(field):
        return json.loads
    if is_array(kind):
        return blobs.array
    if is_mixed(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        inner = {f.name: decoder(f, blobs) for f in fields} | {"as_json": json.loads}
        return lambda cell: _one_of(cell, inner)
    if pa.types.is_list(kind):
        inner_one = decoder(kind.value_field, blobs)
        return inner_one and (lambda cells: [_apply(inner_one, cell) for cell in cells])
    if pa.types.is_struct(kind):
        parts = {kind.field(i).name: decoder(kind.field(i), blobs) for i in range(kind.num_fields)}
        if any(parts.values()):
            return lambda cell: {k: _apply(parts[k], v) for k, v in cell.items()}
    return None


def _apply(decode: Decode | None, value: Any) -> Any:
    return value if value is None or decode is None else decode(value)


def _one_of(cell: dict[str, Any], inner: dict[str, Decode | None]) -> Any:
    for name, value in cell.items():
        if value is not None:
            return _apply(inner[name], value)
    return None


def to_json(value: Any) -> Any:
    """Return a decoded value as JSON has it: contexts as pairs, bytes as base64, arrays as lists.

    Large arrays have to be given as their description (see ``Blobs.plain``).
    """
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, complex):
        return [value.real, value.imag]
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def to_text(value: Any, *, digits: int | None = None) -> str:
    """Return one line that shows a decoded value; ``digits`` rounds floats, None is exact."""
    if value is None:
        return ""
    if isinstance(value, float):
        return repr(value) if digits is None or not math.isfinite(value) else f"{value:.{digits}g}"
    if isinstance(value, str):
        return value.replace("\\", "\\\\").translate({10: "\\n", 9: "\\t", 13: "\\r"})
    if isinstance(value, bool):
        return "true" if value else "false"
    if _is_path(value):
        return " ".join(f"{loop}={index}" for loop, index in value)
    if isinstance(value, tuple | list | dict | bytes | np.ndarray):
        return json.dumps(to_json(value), ensure_ascii=False)
    return str(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(step, tuple) and len(step) == 2 and isinstance(step[0], str) for step in value
    )
