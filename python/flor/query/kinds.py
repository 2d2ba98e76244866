"""The kinds of value a log record can hold, and how a column of them is typed.

A column takes the narrowest exact Arrow type: bool, int64, float64 (also for ints among floats that
float64 holds exactly), string, binary, JSON (a string marked as such), array (a struct ``dtype``,
``shape``, ``ref``). Where no single type is exact, a *mixed* struct: one field per kind present
(``as_int``, ``as_text``, …), all but one null. Nothing becomes text, nothing becomes null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NULL, BOOL, INT, FLOAT, STRING, BYTES, JSON, ARRAY = range(8)
KIND_NAMES = ("null", "bool", "int64", "float64", "string", "bytes", "json", "array")
MIXED_PREFIX = "as_"
MIXED_FIELDS = {
    BOOL: "as_bool",
    INT: "as_int",
    FLOAT: "as_float",
    STRING: "as_text",
    BYTES: "as_bytes",
    JSON: "as_json",
    ARRAY: "as_array",
}
JSON_MARK = {b"flor": b"json"}
ARRAY_TYPE = pa.struct(
    [("dtype", pa.string()), ("shape", pa.list_(pa.int64())), ("ref", pa.string())]
)
_EXACT = 2**53

Fetch = Callable[[bytes], bytes]


def is_mixed(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is a mixed column's struct."""
    known = set(MIXED_FIELDS.values())
    names = [kind.field(i).name for i in range(kind.num_fields)] if pa.types.is_struct(kind) else []
    return len(names) > 1 and all(name in known for name in names)


def is_array(kind: pa.DataType) -> bool:
    """Return whether an Arrow type is the struct of an array reference."""
    return pa.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {
        "dtype",
        "shape",
        "ref",
    }


class Values:
    """The values of some records, as the log holds them: parallel Arrow arrays.

    ``kind`` uint8, ``num`` float64, ``int`` int64, ``data`` binary, ``external`` bool: where set,
    ``data`` is a reference that ``fetch`` resolves to the bytes.
    """

    def __init__(self, table: pa.Table, fetch: Fetch) -> None:
        self._columns = {
            name: table[name].combine_chunks() for name in ("kind", "num", "int", "data")
        }
        self.kind: np.ndarray[Any, np.dtype[np.uint8]] = self._columns["kind"].to_numpy(
            zero_copy_only=False
        )
        for name in ("num", "int"):  # null where the value is of another kind
            self._columns[name] = pc.fill_null(self._columns[name], 0)
        external = table["external"].combine_chunks().to_numpy(zero_copy_only=False)
        if external.any():
            self._columns["data"] = _fetched(self._columns["data"], external, fetch)

    def __len__(self) -> int:
        return len(self.kind)

    def field(self, name: str = "value", *, keep_ints: bool = False) -> tuple[pa.Field, pa.Array]:
        """Return the values in their narrowest exact type, with the field that describes it.

        Integers among floats become float64 where that is exact, unless ``keep_ints``.
        """
        kinds = {int(kind) for kind in np.unique(self.kind)} - {NULL}
        if not kinds:
            return pa.field(name, pa.null()), pa.nulls(len(self))
        if len(kinds) == 1:
            kind = kinds.pop()
            column = self.column(kind)
            return pa.field(name, column.type, metadata=JSON_MARK if kind == JSON else None), column
        if kinds == {INT, FLOAT} and not keep_ints and self._ints_are_exact():
            return pa.field(name, pa.float64()), self.numbers()
        columns = {MIXED_FIELDS[kind]: self.column(kind) for kind in sorted(kinds)}
        mask = pa.array(self.kind == NULL)
        column = pa.StructArray.from_arrays(list(columns.values()), list(columns), mask=mask)
        return pa.field(name, column.type), column

    def column(self, kind: int) -> pa.Array:
        """Return the values of one kind in its own type, null where the value is of another."""
        if kind == BOOL:
            column = pc.not_equal(self._columns["int"], 0)
        elif kind in (INT, FLOAT):
            column = self._columns["int" if kind == INT else "num"]
        elif kind == ARRAY:
            return _array_structs(self._only(self._columns["data"], kind))
        else:
            column = self._only(self._columns["data"], kind)
            return column if kind == BYTES else _text(column)
        return self._only(column, kind)

    def numbers(self) -> pa.Array:
        """Return int64 and float64 values as float64, null where the value is no number."""
        ints = pc.cast(self._columns["int"], pa.float64(), safe=False)
        both = pc.if_else(pa.array(self.kind == INT), ints, self._columns["num"])
        return pc.if_else(pa.array((self.kind == INT) | (self.kind == FLOAT)), both, None)

    def _only(self, column: pa.Array, kind: int) -> pa.Array:
        return pc.if_else(pa.array(self.kind == kind), column, pa.scalar(None, column.type))

    def _ints_are_exact(self) -> bool:
        ints = self._columns["int"].to_numpy(zero_copy_only=False)[self.kind == INT]
        return bool(((ints <= _EXACT) & (ints >= -_EXACT)).all())


def _fetched(data: pa.Array, external: np.ndarray[Any, Any], fetch: Fetch) -> pa.Array:
    content = data.to_pylist()
    for row in np.flatnonzero(external):
        content[row] = fetch(content[row])
    return pa.array(content, data.type)


def _text(column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.string())
    except pa.ArrowInvalid:  # a lone surrogate has no UTF-8: shown escaped
        texts = (
            v if v is None else v.decode("utf-8", "backslashreplace") for v in column.to_pylist()
        )
        return pa.array(list(texts), pa.string())


def _array_structs(column: pa.Array) -> pa.Array:
    import json

    rows: Iterable[Any] = (None if v is None else json.loads(v) for v in column.to_pylist())
    return pa.array(list(rows), ARRAY_TYPE)
