"""The records of one run: what it logged and what replays added, one row an identity.

Identity is (run, rank, name, context, occurrence). A replay keeps only records that the run did
not make, so its rows are counted after the recorded ones of their name and context; among replays
the newest that has a name in a context wins there.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flor.layout import StoreLayout
from flor.query.followed import followed
from flor.query.kinds import Values
from flor.query.order import (
    AFTER,
    Contexts,
    Ints,
    group_ids,
    occurrences,
    run_order,
    writing_order,
)
from flor.query.run_log import read_log_table, read_run_log
from flor.query.store import Blobs

INTERNAL = "__flor__"
_STEP = pa.struct([("loop", pa.string()), ("index", pa.int64())])
_SCHEMA = pa.schema(
    [
        ("rank", pa.int64()),
        ("context", pa.list_(_STEP)),
        ("name", pa.string()),
        ("kind", pa.uint8()),
        ("num", pa.float64()),
        ("int", pa.int64()),
        ("data", pa.binary()),
        ("external", pa.bool_()),
        ("time", pa.float64()),
        ("source", pa.int64()),
    ]
)


class Records:
    """Records of one run in the order of the run: an Arrow table and what is computed from it.

    ``table`` columns: rank, context, name, kind, num, int, data, external, time, source (0: the
    run itself, n: its n-th replay).
    """

    def __init__(self, run: str, table: pa.Table, blobs: Blobs) -> None:
        self.run = run
        self.table = table
        self._blobs = blobs

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def contexts(self) -> Contexts:
        """The contexts as numbers."""
        return Contexts(self.table["context"].combine_chunks())

    @cached_property
    def places(self) -> Ints:
        """For each record a number of its context; the numbers compare as contexts do."""
        return group_ids(self.contexts.keys(), len(self))

    @cached_property
    def occurrence(self) -> Ints:
        """For each record how many earlier ones of the same log share rank, name and context."""
        columns = [self.ints("source"), self.ints("rank"), self._names, self.places]
        return occurrences(group_ids(columns, len(self)))

    @cached_property
    def _names(self) -> Ints:
        encoded = self.table["name"].combine_chunks().dictionary_encode()
        return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), np.int64)

    @property
    def replayed(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """For each record whether a replay added it."""
        return self.ints("source") > 0

    def ints(self, column: str) -> Ints:
        """Return an integer column as numpy."""
        return np.asarray(self.table[column].to_numpy(), np.int64)

    def values(self) -> Values:
        """Return the values, those kept outside of the log fetched from the store."""
        return Values(self.table, self._blobs.fetch)

    def take(self, rows: Ints) -> Records:
        """Return the given rows, in that order; occurrences stay as they are."""
        taken = Records(self.run, self.table.take(pa.array(rows)), self._blobs)
        taken.__dict__["occurrence"] = self.occurrence[rows]
        return taken

    def named(self, names: list[str] | None, *, internal: bool = False) -> Records:
        """Return the records of these names; None: all but flor's own, unless ``internal``."""
        column = self.table["name"]
        if names is not None:
            keep = pc.is_in(column, value_set=pa.array(names, pa.string()))
        elif internal:
            return self
        else:
            keep = pc.invert(pc.starts_with(column, INTERNAL))
        keep = keep.combine_chunks().to_numpy(zero_copy_only=False)
        return self if keep.all() else self.take(np.flatnonzero(keep))


def empty_records(blobs: Blobs) -> Records:
    """Return no records, with all columns."""
    return Records("", _SCHEMA.empty_table(), blobs)


def load_records(layout: StoreLayout, run: str, blobs: Blobs, *, diverged: bool = False) -> Records:
    """Return the records of a run (exact id) and of its completed replays.

    A replay that diverged adds its rows only when ``diverged``. Raises CorruptError, StorageError.
    """
    wanted = {"verified", "unverified"} | ({"diverged"} if diverged else set())
    replays = [r for r in layout.replays(run) if r.get("verdict") in wanted]
    folders = [Path(replay["dir"]) / "log" for replay in reversed(replays)]
    logs = [read_run_log(layout, run), *map(read_log_table, folders)]
    tables = [_ordered(log, number) for number, log in enumerate(logs)]
    records = Records(run, pa.concat_tables(tables).combine_chunks(), blobs)
    if not records.replayed.any():
        return records
    records, after = _newest_replayed(records, followed(records))
    return _in_run_order(records, after)


def _in_run_order(records: Records, after: Ints) -> Records:
    """Return the records in the order of the run; ``after``: see :func:`followed`."""
    theirs = pc.starts_with(records.table["name"], INTERNAL).combine_chunks()
    users = ~theirs.to_numpy(zero_copy_only=False)
    columns = (records.ints("rank"), records.places, records.ints("source"), after)
    return records.take(run_order(users & ~records.replayed, records.replayed, *columns))


def _newest_replayed(records: Records, after: Ints) -> tuple[Records, Ints]:
    """Return the records, and their ``after``, without replayed ones that a newer replay has.

    The rest is counted anew. Recorded rows come first and stay, so their numbers do not change.
    """
    source, replayed = records.ints("source"), records.replayed
    groups = group_ids([records.ints("rank"), records._names, records.places], len(records))
    newest = np.full(int(groups.max(initial=-1)) + 1, np.iinfo(np.int64).max)
    np.minimum.at(newest, groups[replayed], source[replayed])  # 1 is the newest replay
    before = np.bincount(groups[~replayed], minlength=len(newest))
    occurrence = records.occurrence + np.where(replayed, before[groups], 0)
    users = records.table["name"].to_numpy() != AFTER
    kept = np.flatnonzero(~replayed | (users & (source == newest[groups])))
    taken = records.take(kept)
    taken.__dict__["occurrence"] = occurrence[kept]
    return taken, after[kept]


def _ordered(table: pa.Table, source: int) -> pa.Table:
    """Return one log in the order it was written, with the columns of ``_SCHEMA``."""
    if not table.num_rows:
        return _SCHEMA.empty_table()
    table = table.take(pa.array(writing_order(table))).combine_chunks()
    columns = [
        _ranks(table["writer"]),
        _context(table["context"].combine_chunks()),
        table["name"].cast(pa.string()),
        *(table[name] for name in ("kind", "num", "int", "data", "external", "time")),
        pa.array(np.full(table.num_rows, source, np.int64)),
    ]
    return pa.table(columns, names=_SCHEMA.names).cast(_SCHEMA)


def _ranks(writers: pa.ChunkedArray) -> pa.Array:
    """Return the rank that each writer name (``r<rank>-<pid>-<serial>``) begins with."""
    encoded = writers.combine_chunks().dictionary_encode()
    ranks = [int(name.partition("-")[0][1:]) for name in encoded.dictionary.to_pylist()]
    return pa.array(ranks, pa.int64()).take(encoded.indices)


def _context(column: pa.ListArray) -> pa.ListArray:
    """Return contexts as lists of (loop, index); the loops' own values are left out."""
    steps = pa.StructArray.from_arrays(
        [column.values.field("loop").cast(pa.string()), column.values.field("index")],
        fields=list(_STEP),
    )
    return pa.ListArray.from_arrays(column.offsets, steps)
