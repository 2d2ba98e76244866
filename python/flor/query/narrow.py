"""The columns of a SQL result in their narrowest exact type, and marked for what they hold."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pyarrow.compute as pc

from flor.query.kinds import JSON_MARK, MIXED_FIELDS, is_mixed


def narrowed(table: pa.Table, kinds: list[str]) -> pa.Table:
    """Return a result with JSON columns marked, whole decimals as int64 where they fit, and mixed
    columns in which one kind is left as that kind. ``kinds``: DuckDB's types of the columns.

    Of columns with one name the later ones get ``_1``, ``_2``, …
    """
    fields: list[pa.Field] = []
    columns: list[pa.ChunkedArray] = []
    for field, column, kind in zip(table.schema, table.columns, kinds, strict=True):
        name = _unused(field.name, {known.name for known in fields} | set(table.column_names))
        name = name if any(known.name == field.name for known in fields) else field.name
        field, column = _narrow(field.with_metadata(None).with_name(name), column, kind)
        fields.append(field)
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def _unused(name: str, taken: set[str]) -> str:
    return next(f"{name}_{n}" for n in itertools.count(1) if f"{name}_{n}" not in taken)


def _narrow(
    field: pa.Field, column: pa.ChunkedArray, kind: str
) -> tuple[pa.Field, pa.ChunkedArray]:
    if kind == "JSON":
        return pa.field(field.name, pa.string(), metadata=JSON_MARK), column.cast(pa.string())
    if kind == "HUGEINT" or (pa.types.is_decimal(field.type) and field.type.scale == 0):
        try:
            return pa.field(field.name, pa.int64()), column.cast(pa.int64())
        except pa.ArrowInvalid:
            return field, column
    return _one_kind(field, column) if is_mixed(field.type) else (field, column)


def _one_kind(field: pa.Field, column: pa.ChunkedArray) -> tuple[pa.Field, pa.ChunkedArray]:
    names = [field.type.field(i).name for i in range(field.type.num_fields)]
    parts = {name: pc.struct_field(column, name) for name in names}
    used = [name for name, part in parts.items() if part.null_count < len(part)]
    if len(used) > 1:
        return field, column
    if not used:
        return pa.field(field.name, pa.null()), pa.chunked_array([pa.nulls(len(column))])
    part = parts[used[0]]
    is_json = used[0] == MIXED_FIELDS[6]
    return pa.field(field.name, part.type, metadata=JSON_MARK if is_json else None), part
