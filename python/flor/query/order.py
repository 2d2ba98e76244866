"""The order and the identity of records: contexts as numbers, occurrences, places of replayed rows.

A context is a path of (loop, index). Contexts compare level by level; a missing deeper level comes
*after* all deeper ones: what an epoch logs at its end follows its steps.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bools = np.ndarray[Any, np.dtype[np.bool_]]

_LAST = np.iinfo(np.int64).max

AFTER = "__flor__.after"
"""An internal record in the log of a replay: what the records after it follow.

Its context and its value ``[name, occurrence]`` name the recorded one; ``[]``: nothing, they come
first; null: their own context tells.
"""
BY_CONTEXT = -2


class Contexts:
    """The contexts of many records, one pair of columns per depth.

    ``loops``: loop names by first appearance. ``code[d]``: for each record the loop's number at
    depth d, ``index[d]`` its iteration; both ``2**63 - 1`` where the context is shallower.
    """

    def __init__(self, column: pa.ListArray) -> None:
        offsets = column.offsets.to_numpy().astype(np.int64)
        first, depth = offsets[:-1], np.diff(offsets)
        names = column.values.field("loop")
        if not pa.types.is_dictionary(names.type):
            names = names.dictionary_encode()
        codes = names.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        indices = column.values.field("index").to_numpy(zero_copy_only=False)
        self.loops: list[str] = names.dictionary.to_pylist()
        self.code: list[Ints] = []
        self.index: list[Ints] = []
        for level in range(int(depth.max(initial=0))):
            there = depth > level
            for source, columns in ((codes, self.code), (indices, self.index)):
                values = np.full(len(depth), _LAST, np.int64)
                values[there] = source[first[there] + level]
                columns.append(values)

    def keys(self) -> list[Ints]:
        """Return the columns to compare by, the outermost first."""
        return [column for pair in zip(self.code, self.index, strict=True) for column in pair]

    def loop_column(self, loop: str) -> tuple[Ints, Bools]:
        """Return each record's iteration of ``loop`` and whether its context has that loop."""
        number = self.loops.index(loop)
        size = len(self.code[0]) if self.code else 0
        values, there = np.zeros(size, np.int64), np.zeros(size, np.bool_)
        for code, index in zip(self.code, self.index, strict=True):
            here = code == number
            values[here], there[here] = index[here], True
        return values, there


def group_ids(columns: list[Ints], size: int) -> Ints:
    """Return for each row the number of its group; groups are equal rows, numbered in order."""
    if not columns or size == 0:
        return np.zeros(size, np.int64)
    order = np.lexsort(columns[::-1])
    changes = np.zeros(size, np.bool_)
    for column in columns:
        ordered = column[order]
        changes[1:] |= ordered[1:] != ordered[:-1]
    ids = np.empty(size, np.int64)
    ids[order] = np.cumsum(changes)
    return ids


def occurrences(groups: Ints) -> Ints:
    """Return how many earlier rows are of the same group, for each row."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(groups) else order
    lengths = np.diff(np.r_[starts, len(groups)])
    counts = np.empty(len(groups), np.int64)
    counts[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return counts


def writing_order(table: pa.Table) -> Ints:
    """Return the rows of one log in the order they were written, across its writers and rings.

    Rows of a ring keep their order whatever the clock did; rings interleave by time.
    """
    writer = table["writer"].combine_chunks().dictionary_encode().indices.to_numpy()
    ring = table["ring"].to_numpy()
    seq = table["seq"].to_numpy()
    times = table["time"].to_numpy()
    order = np.lexsort((seq, ring, writer))
    keys = group_ids([writer.astype(np.int64), ring.astype(np.int64)], len(seq))[order]
    latest = times[order].copy()
    for start, end in _spans(keys):
        latest[start:end] = np.maximum.accumulate(latest[start:end])
    return order[np.argsort(latest, kind="stable")]


def _spans(keys: Ints) -> list[tuple[int, int]]:
    bounds = [0, *(np.flatnonzero(keys[1:] != keys[:-1]) + 1).tolist(), len(keys)]
    return list(itertools.pairwise(bounds))


def run_order(
    recorded: Bools, replayed: Bools, rank: Ints, context: Ints, source: Ints, after: Ints
) -> Ints:
    """Return all rows in the order of the run.

    Rows that are not ``replayed`` stay as they come. A replayed one follows row ``after``; where
    that is BY_CONTEXT, the last ``recorded`` row of its rank whose context (a number that compares
    as contexts do) is at or before its own. What one replay (``source``) adds behind a row keeps
    its sequence; several replays interleave by context.
    """
    anchor = np.where(replayed, after, np.arange(len(replayed), dtype=np.int64))
    for one in np.unique(rank[replayed]):
        mine = rank == one
        last = np.full(int(context.max(initial=0)) + 1, -1, np.int64)
        rows = np.flatnonzero(mine & recorded)
        np.maximum.at(last, context[rows], rows)
        latest = np.maximum.accumulate(last)
        untold = mine & replayed & (after == BY_CONTEXT)
        anchor[untold] = latest[context[untold]]
    place = np.zeros(len(replayed), np.int64)
    added = np.flatnonzero(replayed)
    place[added] = _in_sequence(anchor[added], source[added], context[added])
    return np.lexsort((place, replayed, anchor))


def _in_sequence(anchor: Ints, source: Ints, context: Ints) -> Ints:
    """Return per row the least context from it on, among what its source adds behind its anchor.

    Never falls along such a sequence, and is the row's own context wherever contexts don't fall.
    """
    order = np.lexsort((np.arange(len(anchor)), source, anchor))
    groups = group_ids([anchor, source], len(anchor))[order]
    span = int(context.max(initial=0)) + 1
    # A group's numbers lie below those of the groups after it: the minimum starts anew in each.
    lowest = np.minimum.accumulate((context[order] + groups * span)[::-1])[::-1]
    places = np.empty(len(anchor), np.int64)
    places[order] = lowest - groups * span
    return places
