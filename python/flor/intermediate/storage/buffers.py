"""Rows on their way to blocks: copied when they come, cut when a block is full.

Not thread-safe: a buffer belongs to its writer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.forms import Form
from flor.intermediate.storage.behind import Rooms
from flor.intermediate.storage.blocks import Cut, flat, spans, table_cuts
from flor.intermediate.storage.codes import Array
from flor.intermediate.storage.columns import as_column

Ids = NDArray[np.int64]


@dataclass
class Block:
    """Rows to encode. ``parts``: of a tensor one array (rows, width), of a table the columns.

    ``nbytes``: memory that it holds. ``error``: what pooling made of its values.
    ``room``: the memory itself, of a tensor.
    """

    rows: int
    nbytes: int
    parts: list[Array]
    ids: Ids | None = None
    error: float = 0.0
    room: NDArray[np.uint8] | None = None


def as_row_ids(row_ids: Any) -> Ids:
    """Return row ids as int64, a copy; raises InvalidError."""
    ids = np.asarray(row_ids)
    if ids.ndim != 1 or (ids.dtype.kind not in "iu" and ids.size):
        raise InvalidError(f"row ids are a vector of integers, not {ids.dtype} {ids.shape}")
    return ids.astype(np.int64)


class TensorRows:
    """Rows of a tensor until they fill a block."""

    def __init__(self, cut: Cut, rooms: Rooms) -> None:
        self.cut, self.used, self.error = cut, 0, 0.0
        self.dtype = np.dtype(cut.kept.parts[0].dtype)
        self.shape = (cut.block_rows, int(cut.starts[-1]))
        self._rooms = rooms
        self._room: NDArray[np.uint8] | None = None

    @property
    def room(self) -> Array:
        """The block that is being filled."""
        nbytes = self.shape[0] * self.shape[1] * self.dtype.itemsize
        if self._room is None:
            self._room = self._rooms.take(nbytes)
        return self._room[:nbytes].view(self.dtype).reshape(self.shape)

    def give_back(self, block: Block) -> None:
        """Take back the memory of a block that was stored; by any thread."""
        if block.room is not None:
            self._rooms.give_back(block.room)

    def take(self, ids: Ids, values: Any) -> list[Block]:
        """Copy rows; return the blocks that are full. Raises InvalidError."""
        array = np.asarray(values)
        shape = self.cut.form.unit_shape or ()
        if array.shape != (len(ids), *shape) or array.dtype != self.dtype:
            raise InvalidError(
                f"values are {array.dtype} {array.shape}; the form says {self.dtype} "
                f"{(len(ids), *shape)}"
            )
        pooled, error = self.cut.code.pool(array)
        self.error = max(self.error, error)
        rows, blocks, at = flat(pooled, len(ids)), [], 0
        while at < len(rows):
            count, room = min(len(rows) - at, self.cut.block_rows - self.used), self.room
            room[self.used : self.used + count] = rows[at : at + count]
            self.used, at = self.used + count, at + count
            if self.used == self.cut.block_rows:
                blocks += self.rest()
                self.error = error  # of the rows that are left
        return blocks

    def rest(self) -> list[Block]:
        """Return what there is as a block."""
        if not self.used:
            return []
        room = self.room
        block = Block(self.used, room.nbytes, [room[: self.used]], None, self.error, self._room)
        self._room, self.used, self.error = None, 0, 0.0
        return [block]


class TableRows:
    """Rows of a table until they are committed: only all row ids say where blocks end.

    They are kept by ascending row id, so that a sorted table shares its chunks with what it was
    sorted from; ``places`` then says where each row went.
    """

    def __init__(self, form: Form) -> None:
        self.form = form
        self.ids: list[Ids] = []
        self.columns: list[list[Array]] = [[] for _ in form.parts]
        self.places: Ids | None = None

    def take(self, ids: Ids, values: Any) -> list[Block]:
        """Copy rows. Raises InvalidError."""
        names = {part.name for part in self.form.parts}
        odd = names ^ set(values)
        if odd:
            raise InvalidError(
                f"the columns are not those of the form: {', '.join(sorted(map(str, odd)))}"
            )
        taken = [as_column(p.name, values[p.name], p.dtype, len(ids)) for p in self.form.parts]
        for column, part in zip(self.columns, taken, strict=True):
            column.append(part)
        self.ids.append(ids)
        return []

    def rest(self) -> list[Block]:
        """Return all blocks."""
        if not self.ids:
            return []
        ids = np.concatenate(self.ids)
        whole = [one[0] if len(one) == 1 else np.concatenate(one) for one in self.columns]
        self.ids, self.columns = [], [[] for _ in whole]
        if (np.diff(ids) < 0).any():
            order = np.argsort(ids, kind="stable")
            self.places = np.empty(len(ids), np.int64)
            self.places[order] = np.arange(len(ids))
            ids, whole = ids[order], [column[order] for column in whole]
        blocks = []
        for begin, end in spans(table_cuts(ids)):
            parts = [column[begin:end] for column in whole]
            nbytes = sum(part.nbytes for part in parts)
            blocks.append(Block(end - begin, nbytes, parts, ids[begin:end]))
        return blocks
