"""Tables of pandas, polars, NumPy, SciPy and plain dicts as columns of fixed width, and back.

Thread-safe: functions and frozen values only.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import CaptureError, CorruptError
from flor.intermediate.forms import Form
from flor.intermediate.pipelines.logical import (
    Told,
    decode,
    encode_array,
    encode_pandas,
    encode_polars,
    few,
    many,
)

Array = NDArray[Any]
Columns = dict[str, Array]

# A matrix of more columns is kept as a tensor: a chunk of each column would be too small.
MOST_COLUMNS = 512
_INDEX = "index"
_SERIES = ("series", "polars series")
_NAMELESS = ("array", "sparse", "tensor")  # what their columns are called is not part of them


@dataclass(frozen=True)
class Encoded:
    """A table as it is kept.

    ``values``: an array (rows,) a column, or (rows, *unit_shape). ``schema``: JSON that makes the
    user's table of them again.
    """

    rows: int
    form: Form
    values: Columns | Array
    schema: dict[str, Any]

    @cached_property
    def digests(self) -> dict[str, bytes]:
        """A hash of each column's bits, by name."""
        if not isinstance(self.values, dict):
            return {"": _digest(self.values)}
        return {name: _digest(column) for name, column in self.values.items()}

    @cached_property
    def content(self) -> str:
        """Fingerprint of the table, 32 hexadecimal digits: equal ones are equal tables."""
        hasher = hashlib.blake2b(json.dumps(self.schema).encode(), digest_size=16)
        named = self.schema["kind"] not in _NAMELESS
        for at, part in enumerate(self.form.parts):
            hasher.update(f"{part.name if named else at}\0{part.dtype}\0".encode())
        for digest in self.digests.values():
            hasher.update(digest)
        return hasher.hexdigest()


def is_table(value: Any) -> bool:
    """Whether a value is a table that can be kept: rows along its first axis.

    Raises CaptureError for a lazy frame.
    """
    if isinstance(value, np.ndarray):
        return value.ndim > 0
    if isinstance(value, dict):
        return _is_columns(value)
    if type(value).__name__ == "LazyFrame":
        raise CaptureError("a LazyFrame has no rows yet: call .collect() on it in the stage")
    return _kind(value) is not None


def row_count(value: Any) -> int:
    """Return how many rows a table has."""
    first = next(iter(value.values())) if isinstance(value, dict) else value
    return int(first.shape[0])


def encode(value: Any, names: Sequence[str] | None = None) -> Encoded:
    """Return a table as it is kept. ``names``: of the columns of an array.

    Raises CaptureError for a column that can't be kept, or a value that is no table.
    """
    if isinstance(value, np.ndarray):
        return _array(value, names)
    if isinstance(value, dict) and _is_columns(value):
        return _mapping(value)
    kind = _kind(value)
    if kind is None:
        raise CaptureError(
            f"{type(value).__name__} is not a table: give a pandas or polars frame, a NumPy array, "
            "a SciPy sparse array, or a dict of columns of equal length"
        )
    return _ENCODERS[kind](value, names)


def without_index(table: Encoded, ids: Array) -> Encoded:
    """Return the table without its index where that is the row ids: these are kept anyway."""
    told = table.schema.get("index")
    if not told or not isinstance(table.values, dict) or len(told.get("levels", [])) != 1:
        return table
    title = told["levels"][0]
    if title in table.schema.get("columns", {}) or not _same(table.values[title], ids):
        return table
    form = Form(tuple(part for part in table.form.parts if part.name != title))
    values = {name: column for name, column in table.values.items() if name != title}
    index = {"row_id": table.values[title].dtype.str, "names": told["names"]}
    return Encoded(table.rows, form, values, {**table.schema, "index": index})


def table_of(schema: dict[str, Any], values: Any, ids: Array | None = None) -> Any:
    """Return the table that :func:`encode` took, bit for bit. Raises CorruptError.

    ``ids``: row ids, for what :func:`without_index` gave.
    """
    way = _DECODERS.get(schema.get("kind", ""))
    if way is None:
        raise CorruptError(f"a table is kept as {schema.get('kind')!r}: this flor knows no such")
    return way(schema, values, ids)


def column_of(schema: dict[str, Any], name: str, values: Array) -> Any:
    """Return a kept column as the user knows it: texts for codes, missing values as such."""
    return decode(values, schema.get("columns", {}).get(name))


def select_rows(values: Any, at: Any) -> Any:
    """Return some rows of kept values."""
    if isinstance(values, dict):
        return {name: column[at] for name, column in values.items()}
    return values[at]


# -- what is a table -----------------------------------------------------------------------------


def _kind(value: Any) -> str | None:
    """Return the kind of a table of a library, which is imported if there is one."""
    for module, name, kind in (
        ("pandas", "DataFrame", "pandas"), ("pandas", "Series", "series"),
        ("polars", "DataFrame", "polars"), ("polars", "Series", "polars series"),
    ):  # fmt: skip
        library = sys.modules.get(module)
        if library is not None and isinstance(value, getattr(library, name, ())):
            return kind
    sparse = sys.modules.get("scipy.sparse")
    return "sparse" if sparse is not None and sparse.issparse(value) and value.ndim == 2 else None


def _is_columns(value: dict[Any, Any]) -> bool:
    """A dict of columns: arrays of equal length by name."""
    columns = list(value.values())
    if not columns or not all(isinstance(name, str) for name in value):
        return False
    if not all(
        isinstance(c, np.ndarray) or _kind(c) in ("series", "polars series") for c in columns
    ):
        return False
    return all(getattr(c, "ndim", 1) == 1 for c in columns) and len({len(c) for c in columns}) == 1


def _same(column: Array, ids: Array) -> bool:
    return column.dtype.kind in "iu" and np.array_equal(column, ids)


def _digest(values: Array) -> bytes:
    dense = np.ascontiguousarray(values)
    hasher = hashlib.sha256(f"{dense.dtype.str}{dense.shape}".encode())
    hasher.update(dense.reshape(-1).view(np.uint8).data if dense.size else b"")
    return hasher.digest()[:16]


# -- encoding ------------------------------------------------------------------------------------


class _Parts:
    """Columns on their way: unique names of parts, arrays, and what they are."""

    def __init__(self) -> None:
        self.values: Columns = {}
        self.told: dict[str, Told] = {}

    def add(self, name: str, encoded: tuple[Array, Told]) -> str:
        title, number = name, 1
        while title in self.values:
            number += 1
            title = f"{name}#{number}"
        array, told = encoded
        self.values[title] = np.ascontiguousarray(array)
        if told is not None:
            self.told[title] = told
        return title

    def encoded(self, kind: str, rows: int, **more: Any) -> Encoded:
        form = Form.table(
            {name: array.dtype.str.lstrip("<=|") for name, array in self.values.items()}
        )
        schema = {"kind": kind, **({"columns": self.told} if self.told else {}), **more}
        return Encoded(rows, form, self.values, schema)


def _array(value: Array, names: Sequence[str] | None) -> Encoded:
    if value.dtype.names:
        parts = _Parts()
        for field in value.dtype.names:
            parts.add(field, encode_array(field, value[field]))
        return parts.encoded("records", len(value), dtype=repr(value.dtype.descr))
    if value.ndim > 2 or (value.ndim == 2 and value.shape[1] > MOST_COLUMNS):
        return _tensor(value, {"kind": "tensor"})
    parts, flat = _Parts(), value.ndim == 1
    columns = value[:, None] if flat else value
    titles = (
        names if names is not None else ["value"] if flat else map(str, range(columns.shape[1]))
    )
    for at, name in enumerate(titles):
        parts.add(name, encode_array(name, columns[:, at]))
    order = "F" if not flat and value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    return parts.encoded("array", len(value), dtype=value.dtype.str, flat=flat, order=order)


def _tensor(value: Array, schema: dict[str, Any]) -> Encoded:
    if value.dtype.kind not in "biuf":
        raise CaptureError(
            f"an array of {value.ndim} axes with the dtype {value.dtype} can't be kept"
        )
    form = Form.tensor(tuple(value.shape[1:]), value.dtype.str.lstrip("<=|"))
    return Encoded(len(value), form, np.ascontiguousarray(value), schema)


def _sparse(value: Any, names: Sequence[str] | None) -> Encoded:
    canonical = value.format in ("csr", "csc") and bool(
        value.has_canonical_format and (value.data != 0).all()
    )
    inner = _array(value.toarray(), names)
    told = {"kind": "sparse", "class": type(value).__name__, "canonical": canonical}
    return Encoded(inner.rows, inner.form, inner.values, {**told, "dense": inner.schema})


def _pandas(value: Any, _names: Sequence[str] | None) -> Encoded:
    parts = _Parts()
    titles = [
        parts.add(_title(label), encode_pandas(_title(label), value.iloc[:, at]))
        for at, label in enumerate(value.columns)
    ]
    labels = {} if _is_plain(value.columns, titles) else {"labels": few(value.columns)}
    names = list(value.columns.names)
    if names != [None]:
        labels["names"] = names
    index = _index(value.index, parts)
    return parts.encoded("pandas", len(value), index=index, **labels)


def _series(value: Any, _names: Sequence[str] | None) -> Encoded:
    parts = _Parts()
    title = "value" if value.name is None else _title(value.name)
    parts.add(title, encode_pandas(title, value))
    name = few(np.array([value.name], object))
    index = _index(value.index, parts)
    return parts.encoded("series", len(value), name=name, index=index)


def _index(index: Any, parts: _Parts) -> dict[str, Any]:
    """Return what the index is; what can't be said briefly becomes columns."""
    import pandas as pd

    names = few(np.array([*index.names, None], object))
    if isinstance(index, pd.RangeIndex):
        return {"range": [index.start, index.stop, index.step], "names": names}
    levels = [index.get_level_values(at) for at in range(index.nlevels)]
    titles = [
        parts.add(_INDEX, encode_pandas(_INDEX, pd.Series(level, copy=False))) for level in levels
    ]
    return {"levels": titles, "names": names}


def _title(label: Any) -> str:
    return label if isinstance(label, str) else str(label)


def _is_plain(columns: Any, titles: list[str]) -> bool:
    import pandas as pd

    plain = pd.Index(titles)
    return bool(plain.dtype == columns.dtype and plain.equals(columns))


def _polars(value: Any, _names: Sequence[str] | None) -> Encoded:
    parts = _Parts()
    for column in value.get_columns():
        parts.add(column.name, encode_polars(column.name, column))
    return parts.encoded("polars", value.height)


def _polars_series(value: Any, _names: Sequence[str] | None) -> Encoded:
    parts = _Parts()
    title = parts.add(value.name or "value", encode_polars(value.name, value))
    return parts.encoded("polars series", len(value), name=value.name, title=title)


def _mapping(value: dict[str, Any]) -> Encoded:
    parts, kinds = _Parts(), {}
    for name, column in value.items():
        if isinstance(column, np.ndarray):
            parts.add(name, encode_array(name, column))
        else:
            inner = encode(column)
            assert isinstance(inner.values, dict)
            titles = {
                part: parts.add(name if part != _INDEX else f"{name} {_INDEX}", (array, None))
                for part, array in inner.values.items()
            }
            kinds[name] = {"schema": inner.schema, "parts": titles}
    return parts.encoded("dict", len(next(iter(value.values()))), inner=kinds, order=list(value))


# -- decoding ------------------------------------------------------------------------------------


def _columns(schema: dict[str, Any], values: Columns) -> dict[str, Any]:
    told = schema.get("columns", {})
    return {name: decode(array, told.get(name)) for name, array in values.items()}


def _to_records(schema: dict[str, Any], values: Columns, _ids: Any) -> Array:
    import ast

    columns = _columns(schema, values)
    kind = np.dtype([tuple(field) for field in ast.literal_eval(schema["dtype"])])
    out = np.empty(len(next(iter(columns.values()))), kind)
    for name, column in columns.items():
        out[name] = column
    return out


def _to_array(schema: dict[str, Any], values: Columns, _ids: Any) -> Array:
    columns = list(_columns(schema, values).values())
    kind = np.dtype(schema["dtype"])
    if schema["flat"]:
        flat: Array = columns[0].astype(kind, copy=False)
        return flat
    rows = len(columns[0]) if columns else 0
    out = np.empty((rows, len(columns)), kind, order=schema["order"])
    for at, column in enumerate(columns):
        out[:, at] = column
    return out


def _to_sparse(schema: dict[str, Any], values: Any, ids: Any) -> Any:
    import scipy.sparse

    way = getattr(scipy.sparse, schema["class"], None)
    if way is None:
        raise CorruptError(f"a sparse array is kept as {schema['class']!r}: SciPy knows no such")
    return way(table_of(schema["dense"], values, ids))


def _to_pandas(schema: dict[str, Any], values: Columns, ids: Any) -> Any:
    import pandas as pd

    columns = _columns(schema, values)
    index = _to_index(schema["index"], columns, ids)
    found = {at: _one(column, index) for at, column in enumerate(columns.values())}
    table = pd.DataFrame(found, index=index, copy=False)
    table.columns = (
        _labels(many(schema["labels"])) if "labels" in schema else pd.Index(list(columns))
    )
    if "names" in schema:
        table.columns.names = schema["names"]
    return table


def _to_series(schema: dict[str, Any], values: Columns, ids: Any) -> Any:
    columns = _columns(schema, values)
    index = _to_index(schema["index"], columns, ids)
    (column,) = columns.values()
    return _one(column, index, many(schema["name"])[0])


def _one(column: Any, index: Any, name: Any = None) -> Any:
    """Return a series; of objects without a look for a better type."""
    import pandas as pd

    kind = object if isinstance(column, np.ndarray) and column.dtype.kind == "O" else None
    return pd.Series(column, index=index, dtype=kind, name=name, copy=False)


def _labels(values: Any) -> Any:
    import pandas as pd

    if isinstance(values, pd.Index):
        return values
    objects = isinstance(values, np.ndarray) and values.dtype.kind == "O"
    return pd.Index(values, dtype=object if objects else None)


def _to_index(told: dict[str, Any], columns: dict[str, Any], ids: Any) -> Any:
    """Return the index; its levels are taken out of the columns."""
    import pandas as pd

    names = list(many(told["names"])[:-1])
    if "range" in told:
        return pd.RangeIndex(*told["range"], name=names[0])
    if "row_id" in told:
        return pd.Index(ids.astype(told["row_id"]), name=names[0])
    levels = [_labels(columns.pop(title)) for title in told["levels"]]
    if len(levels) == 1:
        return levels[0].rename(names[0])
    return pd.MultiIndex.from_arrays(levels, names=names)


def _to_polars(schema: dict[str, Any], values: Columns, _ids: Any) -> Any:
    import polars as pl

    return pl.DataFrame([pl.Series(name, c) for name, c in _columns(schema, values).items()])


def _to_polars_series(schema: dict[str, Any], values: Columns, _ids: Any) -> Any:
    import polars as pl

    return pl.Series(schema["name"], _columns(schema, values)[schema["title"]])


def _to_mapping(schema: dict[str, Any], values: Columns, _ids: Any) -> dict[str, Any]:
    columns = _columns(schema, values)
    out = {}
    for name in schema["order"]:
        inner = schema["inner"].get(name)
        if inner is None:
            out[name] = columns[name]
        else:
            own = {part: columns[title] for part, title in inner["parts"].items()}
            out[name] = table_of(inner["schema"], own)
    return out


_ENCODERS: dict[str, Callable[[Any, Sequence[str] | None], Encoded]] = {
    "pandas": _pandas,
    "series": _series,
    "polars": _polars,
    "polars series": _polars_series,
    "sparse": _sparse,
}
_DECODERS: dict[str, Callable[[dict[str, Any], Any, Any], Any]] = {
    "array": _to_array,
    "records": _to_records,
    "tensor": lambda _schema, values, _ids: values,
    "sparse": _to_sparse,
    "pandas": _to_pandas,
    "series": _to_series,
    "polars": _to_polars,
    "polars series": _to_polars_series,
    "dict": _to_mapping,
}
