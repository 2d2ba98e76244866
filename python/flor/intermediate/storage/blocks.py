"""How an intermediate is cut: row blocks × parts, and what is known of the values of each chunk.

A chunk of a tensor takes up to 64 KiB as it is kept, so 64 to 256 KiB decoded; less where a layer
has so many parts that a block would pass 16 MiB. Blocks of a table
have up to 65,536 rows and begin where row ids pass a multiple of that, so that a table that lacks
some rows still shares the blocks before and behind them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.forms import Form
from flor.intermediate.storage.codes import Array, Code

CHUNK_BYTES = 65536
BLOCK_BYTES = 16 << 20  # decoded: every layer that is being written holds an open block
TABLE_ROWS = 65536
_LEAST_ROWS = 4096  # of an aligned block, on average; sparser row ids are cut by position
# Bytes that a code takes for a value, and at the head of a chunk for a channel.
_VALUE_BYTES = {"half": 2.0, "bf16": 2.0, "affine8": 1.0, "quantile": 1.0, "threshold": 0.125}
_HEAD_BYTES = 9


@dataclass(frozen=True)
class Cut:
    """The form of an intermediate as a code keeps it, and the rows of its blocks."""

    form: Form  # as users see it
    code: Code
    kept: Form  # pooled

    @classmethod
    def of(cls, form: Form, code: Code) -> Cut:
        """Return how a form is cut under a code; raises InvalidError when they don't fit."""
        if form.unit_shape is None:
            if code.side is not None:
                raise InvalidError(f"{code.text} pools maps; a table has none")
            return cls(form, code, form)
        if not form.parts or form != Form.tensor(form.unit_shape, form.parts[0].dtype):
            raise InvalidError("the form of a tensor comes from Form.tensor(unit_shape, dtype)")
        if code.side is None:
            return cls(form, code, form)
        if np.dtype(form.parts[0].dtype).kind != "f":
            raise InvalidError(f"{code.text} is for floating numbers, not {form.parts[0].dtype}")
        return cls(form, code, Form.tensor(code.shape(form.unit_shape), form.parts[0].dtype))

    @cached_property
    def widths(self) -> list[int]:
        """Values of a row of each part."""
        return [math.prod(part.shape) for part in self.kept.parts]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each part begins in a flat row, and where the last ends."""
        return np.concatenate([[0], np.cumsum(self.widths)]).astype(np.int64)

    @property
    def by_column(self) -> bool:
        """Whether each column of a part is a unit by itself, not a cell of a map."""
        return self.kept.unit_shape is not None and len(self.kept.unit_shape) == 1

    def channels(self, part: int) -> int:
        """Return how many of a part's columns have a range of their own under affine8."""
        return self.widths[part] if self.by_column else 1

    @cached_property
    def block_rows(self) -> int:
        """Rows of a full block."""
        if self.kept.unit_shape is None:
            return TABLE_ROWS
        itemsize = np.dtype(self.kept.parts[0].dtype).itemsize
        value = min(_VALUE_BYTES.get(self.code.value, itemsize), itemsize)
        room = CHUNK_BYTES - _HEAD_BYTES * self.channels(0) if value < itemsize else CHUNK_BYTES
        rows = min(int(room // (value * max(1, self.widths[0]))), TABLE_ROWS)
        return max(1, min(rows, BLOCK_BYTES // max(1, self.kept.row_bytes)))

    def columns_of(self, units: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where units (flat, in the order of C) stand in a flat row as it is kept."""
        shape = self.form.unit_shape
        assert shape is not None
        if units.size and (units.min() < 0 or units.max() >= self.form.units):
            raise InvalidError(
                f"unit {int(units[(units < 0) | (units >= self.form.units)][0])} does not exist: "
                f"a row has {self.form.units}, counted from 0"
            )
        if self.code.side is None:
            return units
        place = np.unravel_index(units, shape)
        kept_shape = self.kept.unit_shape
        assert kept_shape is not None
        if self.code.side == 0:
            place = place[:-2]
        else:
            place = (*place[:-2], place[-2] // self.code.side, place[-1] // self.code.side)
        return np.asarray(np.ravel_multi_index(place, kept_shape), np.int64)


def table_cuts(row_ids: NDArray[np.int64]) -> list[int]:
    """Return where the blocks of a table end, given all its row ids, ascending."""
    count = len(row_ids)
    if not count:
        return []
    ends = [*(np.flatnonzero(np.diff(row_ids // TABLE_ROWS)) + 1).tolist(), count]
    sparse = count / len(ends) < min(_LEAST_ROWS, count)
    return _split([count] if sparse else ends)


def _split(ends: Sequence[int]) -> list[int]:
    """Cut what is longer than a block: row ids may repeat."""
    cuts, begin = [], 0
    for end in ends:
        cuts += [*range(begin + TABLE_ROWS, end, TABLE_ROWS), end]
        begin = end
    return cuts


def spans(ends: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of blocks that end there."""
    begin = 0
    for end in ends:
        yield begin, end
        begin = end


@dataclass(frozen=True)
class Stats:
    """Of the true values: least, largest (NaN where nothing is ordered), zeros, NaNs or nulls."""

    low: float = math.nan
    high: float = math.nan
    zeros: int = 0
    nans: int = 0


def stats_of(values: Array) -> Stats:
    """Return what is known of some values of any dtype."""
    if not values.size:
        return Stats()
    if values.dtype.kind == "f":
        low, high = float(values.min()), float(values.max())
        zeros = values.size - int(np.count_nonzero(values))
        if not math.isnan(low):
            return Stats(low, high, zeros)
        whole = values[~np.isnan(values)]
        nans = values.size - whole.size
        return Stats(float(whole.min()), float(whole.max()), zeros, nans) if whole.size else Stats(
            zeros=zeros, nans=nans)  # fmt: skip
    if values.dtype.kind in "iub":
        zeros = values.size - int(np.count_nonzero(values))
        return Stats(_below(int(values.min())), -_below(-int(values.max())), zeros)
    if values.dtype.kind in "mM":
        return Stats(nans=int(np.isnat(values).sum()))
    return Stats(nans=sum(value is None for value in values.flat) if values.dtype == object else 0)


def _below(number: int) -> float:
    """Return the largest float that is not above an integer."""
    rounded = float(number)
    return rounded if rounded <= number else math.nextafter(rounded, -math.inf)


@dataclass(frozen=True)
class Bounds:
    """What is known of some units in each block, without reading it.

    A table whose row ids don't ascend counts as one block.

    ``first``, ``rows``: (blocks,), where a block begins and how many rows it has. ``low`` and
    ``high``: (blocks, units), between which the true values lie, NaN where nothing is ordered; of
    the part that a unit is in. ``zeros``, ``nans``: values of that part that are. ``error``: no
    value is read that is farther than this from the true one.
    """

    first: NDArray[np.int64]
    rows: NDArray[np.int64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    zeros: NDArray[np.int64]
    nans: NDArray[np.int64]
    error: NDArray[np.float64]


def flat(values: Any, rows: int) -> Array:
    """Return values (rows, …) as (rows, width)."""
    array: Array = np.asarray(values)
    return array.reshape(rows, -1) if rows else array.reshape(0, math.prod(array.shape[1:]))
