"""Exact answers from inexact copies: which rows a copy leaves undecided.

A value that is read lies within its chunk's stated error of the true one, and between the least and
largest of the chunk. So a score of a row (a value, a distance) lies in an interval; rows whose
interval can't be among the k least are out, and the exact values of the others decide. Blocks that
can't hold any of the k least are not read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flor.intermediate.planning.access import read_units
from flor.intermediate.planning.selection import Selection

if TYPE_CHECKING:
    from flor.intermediate.storage.kept import Kept

# Errors are measured in floating point: a little more than what was measured.
_SLACK = 1 + 1e-6
_ROUND_BYTES = 64 << 20

Array = NDArray[Any]


@dataclass
class Scores:
    """Rows with the interval that the score of each lies in."""

    ids: Array
    low: Array
    high: Array


def contenders(
    bounds: Array, load: Callable[[Array], Scores], k: int, most: int = 1 << 30
) -> Scores:
    """Return the rows that may be among the k least scores; all that tie with the k-th too.

    ``bounds``: (blocks,), less than which no score in a block is; NaN where a block has none.
    ``load``: the scores of some blocks; NaN for a row that has none. ``most``: blocks at a time.
    """
    order = [at for at in np.argsort(bounds, kind="stable").tolist() if not np.isnan(bounds[at])]
    found, limit, size = [], np.inf, 1
    least = np.empty(0)
    while order and bounds[order[0]] <= limit:
        some = [at for at in order[:size] if bounds[at] <= limit]
        order = order[size:]
        scores = load(np.asarray(some))
        found.append(scores)
        least = np.sort(np.concatenate([least, scores.high[~np.isnan(scores.high)]]))[:k]
        limit = float(least[-1]) if len(least) == k else np.inf
        size = min(2 * size, most)
    if not found:
        return Scores(np.empty(0, np.int64), np.empty(0), np.empty(0))
    ids = np.concatenate([one.ids for one in found])
    low = np.concatenate([one.low for one in found])
    high = np.concatenate([one.high for one in found])
    may = low <= limit  # False for NaN
    return Scores(ids[may], low[may], high[may])


def rounding(values: Array, part: float) -> Array:
    """Return what arithmetic may have moved values by: this part of them; 0 for infinities."""
    return part * np.where(np.isfinite(values), np.abs(values), 0.0)


class Copy:
    """An inexact copy: what its blocks may hold, and its values with their errors.

    ``rows``: the row ids that matter, None: all of them.
    """

    def __init__(self, kept: Kept, selection: Selection, rows: Array | None) -> None:
        self.kept = kept
        self.selection = selection
        units, self.counts = selection.samples()
        self.bounds = kept.bounds(units)
        self.error = np.where(np.isnan(self.bounds.error), np.inf, self.bounds.error) * _SLACK
        self._ids = kept.row_ids()
        self._block = np.repeat(np.arange(len(self.bounds.rows)), self.bounds.rows)
        if rows is not None:
            asked = np.isin(self._ids, rows)
            self._ids, self._block = self._ids[asked], self._block[asked]

    @property
    def most_blocks(self) -> int:
        """How many blocks may be worked on at a time."""
        rows = int(self.bounds.rows.max(initial=1))
        return int(max(_ROUND_BYTES // max(rows * self.selection.row_bytes, 1), 1))

    def load(self, blocks: Array) -> tuple[Array, Array, Array]:
        """Return (row ids, the block of each, values float64 (rows, units))."""
        mine = np.isin(self._block, blocks)
        ids, block = self._ids[mine], self._block[mine]
        values = read_units(self.kept, ids, self.selection, self.kept.rows)[1]
        if isinstance(values, dict):
            flat = np.stack([np.asarray(one, np.float64) for one in values.values()], axis=1)
        else:
            flat = values.reshape(len(ids), -1).astype(np.float64)
        return ids, block, flat
