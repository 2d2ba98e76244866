"""What replayed records follow, where a replay noted it because their contexts do not tell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flor.query.order import AFTER, BY_CONTEXT, Bools, Ints, group_ids

if TYPE_CHECKING:
    from flor.query.records import Records


def followed(records: Records) -> Ints:
    """Return for each record the number of the recorded one that it follows.

    -1 where it precedes all, BY_CONTEXT where its context tells.
    """
    is_marker = pc.equal(records.table["name"], AFTER).combine_chunks()
    markers = np.flatnonzero(is_marker.to_numpy(zero_copy_only=False))
    after = np.full(len(records), BY_CONTEXT, np.int64)
    if len(markers):
        after[markers] = _targets(records, markers)
        group = group_ids([records.ints("source"), records.ints("rank")], len(records))
        order = np.argsort(group, kind="stable")
        after[order] = _carried(after[order], np.isin(order, markers), group[order])
    return after


def _carried(values: Ints, is_marker: Bools, group: Ints) -> Ints:
    """Return each row's last marker's value in its group, BY_CONTEXT before the first."""
    rows = np.arange(len(values))
    latest = np.maximum.accumulate(np.where(is_marker, rows, -1))
    starts = np.searchsorted(group, group, side="left")
    return np.where(latest >= starts, values[latest], BY_CONTEXT)


def _targets(records: Records, markers: Ints) -> Ints:
    """Return the recorded rows that markers name by context, name and occurrence."""
    rank, place, occurrence = records.ints("rank"), records.places, records.occurrence
    near = np.flatnonzero(~records.replayed & np.isin(place, place[markers]))
    names = records.table["name"].take(pa.array(near)).to_pylist()
    columns = (rank[near].tolist(), names, place[near].tolist(), occurrence[near].tolist())
    rows = dict(zip(zip(*columns, strict=True), near.tolist(), strict=True))
    told = [json.loads(text) for text in records.table["data"].take(pa.array(markers)).to_pylist()]
    keys = zip(rank[markers].tolist(), told, place[markers].tolist(), strict=True)
    return np.array([_row(rows, *key) for key in keys], np.int64)


def _row(rows: dict[Any, int], rank: int, told: list[Any] | None, place: int) -> int:
    if not told:
        return BY_CONTEXT if told is None else -1
    return rows.get((rank, told[0], place, told[1]), BY_CONTEXT)
