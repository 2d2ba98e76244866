"""The table ``logs`` for SQL: bound once per mention, ``value`` typed by the rows in reach."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

from flor.layout import StoreLayout
from flor.query.kinds import KIND_NAMES, NULL, STRING, Values
from flor.query.log_tables import base_columns, selected
from flor.query.records import Records, empty_records
from flor.query.store import Blobs

LOGS = ("run", "rank", "origin", "context", "name", "value", "time")
PSEUDO = ("num", "text", "occurrence")  # columns that are there when named, and not in *
_NAMES_SHOWN = 3


class SqlLogs:
    """The records of every run of a store, flor's own left out."""

    def __init__(self, layout: StoreLayout, blobs: Blobs) -> None:
        self._blobs = blobs
        self.parts = [records.named(None) for records in selected(layout, None, blobs)]
        loops = dict.fromkeys(loop for r in self.parts for loop in r.contexts.loops)
        self.loop_columns = {loop: _free(loop) for loop in loops}

    @cached_property
    def _filled(self) -> list[Records]:
        return self.parts or [empty_records(self._blobs)]

    @cached_property
    def _raw(self) -> pa.Table:
        return pa.concat_tables([r.table for r in self._filled]).combine_chunks()

    @cached_property
    def base(self) -> pa.Table:
        """All columns but value, a column a loop at the end, and ``__kind``."""
        tables = [_with_loops(r, self.loop_columns) for r in self._filled]
        return pa.concat_tables(tables).combine_chunks()

    @property
    def problem(self) -> str:
        """What to tell who uses a value of several kinds as one."""
        names = np.asarray(self._raw["name"].to_pylist(), object)
        kinds = self._raw["kind"].to_numpy()
        told = []
        for kind in np.unique(kinds[kinds != NULL]):
            some = sorted(set(names[kinds == kind]))
            more = ", …" if len(some) > _NAMES_SHOWN else ""
            told.append(f"{KIND_NAMES[kind]} ({', '.join(some[:_NAMES_SHOWN])}{more})")
        return (
            "logs.value holds values of several kinds among the rows this query can reach; the "
            f"store has {'; '.join(told)}. Say which rows you mean (WHERE name = …), or use the "
            "column num (numbers, else null) or text (strings, else null)"
        )

    def bound(self, kinds: set[int] | None) -> pa.Table:
        """Return the rows whose value is of one of ``kinds`` (None: all), value typed by them.

        The columns of ``PSEUDO`` are at the end.
        """
        base, raw = self.base, self._raw
        occurrence = np.concatenate([r.occurrence for r in self._filled])
        if kinds is not None:
            rows = np.flatnonzero(np.isin(raw["kind"].to_numpy(), sorted(kinds)))
            base, raw, occurrence = base.take(pa.array(rows)), raw.take(rows), occurrence[rows]
        values = Values(raw, self._blobs.fetch)
        table = base.drop_columns(["__kind"]).add_column(LOGS.index("value"), *values.field())
        table = table.append_column("num", values.numbers())
        table = table.append_column("text", values.column(STRING))
        return table.append_column("occurrence", pa.array(occurrence))


def _free(loop: str) -> str:
    while loop.lower() in (*LOGS, *PSEUDO):
        loop += "_"
    return loop


def _with_loops(records: Records, loop_columns: dict[str, str]) -> pa.Table:
    table = base_columns(records)
    for loop, column in loop_columns.items():
        if loop in records.contexts.loops:
            values, there = records.contexts.loop_column(loop)
            cells = pa.array(values, mask=~there)
        else:
            cells = pa.nulls(len(records), pa.int64())
        table = table.append_column(column, cells)
    return table.append_column("__kind", records.table["kind"])
