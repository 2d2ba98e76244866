"""Records of a log as plain tuples, exact to the bit."""

from __future__ import annotations

import contextlib
import gc
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from flor.query.order import Contexts, group_ids, occurrences, writing_order
from flor.query.run_log import read_log_table

NULL, BOOL, INT, FLOAT, STRING, BYTES, JSON, ARRAY = range(8)
EXTERNAL = 0x80
INTERNAL = "__flor__"

Context = tuple[tuple[str, int], ...]
Identity = tuple[int, str, Context, int]


class Record(NamedTuple):
    """One logged value.

    ``value``: the bits of a float, an int, or the payload. ``order``: its place in the log.
    """

    rank: int
    name: str
    context: Context
    occurrence: int
    kind: int
    value: Any
    time: float
    order: int

    @property
    def identity(self) -> Identity:
        """What names the record in its run."""
        return self.rank, self.name, self.context, self.occurrence


def python_value(record: Record) -> Any:
    """Return the value as Python has it; payloads of bytes, JSON and arrays as they are kept."""
    kind = record.kind & ~EXTERNAL
    if kind == FLOAT:
        return struct.unpack("<d", struct.pack("<q", record.value))[0]
    if kind == BOOL:
        return bool(record.value)
    if kind == STRING and not record.kind & EXTERNAL:
        return record.value.decode("utf-8", "backslashreplace")
    return record.value


def read_records(folder: Path) -> list[Record]:
    """Return the records of a log folder in the order they were written; none if it is missing."""
    return records_of(read_log_table(folder)) if folder.is_dir() else []


def records_of(table: pa.Table) -> list[Record]:
    """Return the records of a log, as :mod:`flor.query.run_log` reads it, in writing order."""
    if not table.num_rows:
        return []
    table = table.take(pa.array(writing_order(table))).combine_chunks()
    ranks = _ranks(table["writer"].combine_chunks())
    places, paths = _contexts(table["context"].combine_chunks())
    names = table["name"].combine_chunks().dictionary_encode()
    codes = np.asarray(names.indices.to_numpy(zero_copy_only=False), np.int64)
    known = names.dictionary.to_pylist()
    counts = occurrences(group_ids([ranks, codes, places], len(codes)))
    columns = (
        ranks.tolist(),
        [known[code] for code in codes.tolist()],
        [paths[place] for place in places.tolist()],
        counts.tolist(),
        *_values(table),
        table["time"].to_pylist(),
        range(table.num_rows),
    )
    with _without_collector():
        return list(map(Record._make, zip(*columns, strict=True)))


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Many tuples without a cycle among them: looking for one each time costs more than they do."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _ranks(writers: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    encoded = writers.dictionary_encode()
    heads = [name.partition("-")[0][1:] for name in encoded.dictionary.to_pylist()]
    ranks = np.array([int(head) if head.isdigit() else 0 for head in heads], np.int64)
    return np.asarray(ranks[encoded.indices.to_numpy(zero_copy_only=False)], np.int64)


def _contexts(column: Any) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[Context]]:
    """Return for each record the number of its context, and the contexts by number."""
    contexts = Contexts(column)
    places = group_ids(contexts.keys(), len(column))
    rows = np.unique(places, return_index=True)[1]
    paths: list[list[tuple[str, int]]] = [[] for _ in rows]
    for code, index in zip(contexts.code, contexts.index, strict=True):
        pairs = zip(paths, code[rows].tolist(), index[rows].tolist(), strict=True)
        for path, loop, number in pairs:
            if loop < len(contexts.loops):
                path.append((contexts.loops[loop], number))
    return places, [tuple(path) for path in paths]


def _values(table: Any) -> tuple[list[int], list[Any]]:
    """Return the kinds (0x80: a reference into the store) and the values, exact to the bit."""
    kinds = np.asarray(table["kind"].to_numpy(), np.int64)
    numbers = table["int"].combine_chunks().fill_null(0).to_numpy(zero_copy_only=False)
    floats = table["num"].combine_chunks().fill_null(0.0).to_numpy(zero_copy_only=False)
    bits = np.ascontiguousarray(floats, np.float64).view(np.int64)
    values: list[Any] = np.where(kinds == FLOAT, bits, numbers).astype(np.int64).tolist()
    column = table["data"].combine_chunks()
    rows = np.flatnonzero(kinds >= STRING)
    for row, data in zip(rows.tolist(), column.take(pa.array(rows)).to_pylist(), strict=True):
        values[row] = data
    for row in np.flatnonzero(kinds == NULL).tolist():
        values[row] = None
    external = table["external"].combine_chunks().to_numpy(zero_copy_only=False)
    return (kinds | np.where(external, EXTERNAL, 0)).tolist(), values
