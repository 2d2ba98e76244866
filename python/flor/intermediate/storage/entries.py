"""What goes into the catalogue: chunks, intermediates. Not thread-safe: each has one owner."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.packing import check_of


@dataclass
class ChunkRow:
    """A distinct chunk: where its bytes are, and what is known of its values.

    ``raw``: bytes decoded. ``low``, ``high``: of the true values, NaN where there is none.
    ``error``: of what it decodes to. ``base``: the identity of the chunk that it is a difference
    to, ``depth``: how many such steps. ``rowset``: the digest of its rows' ids, of a table;
    ``ids``: they themselves, until they are in the catalogue.
    """

    identity: bytes
    ref: bytes
    start: int
    length: int
    kind: int
    rows: int
    raw: int
    low: float
    high: float
    zeros: int
    nans: int
    error: float
    base: bytes | None = None
    depth: int = 0
    rowset: bytes | None = None
    sketch: bytes | None = None
    ids: NDArray[np.int64] | None = None

    def check(self) -> int:
        """Return a checksum of all that the catalogue says of the chunk, its sketch aside."""
        # SQLite knows neither NaN nor the sign of zero.
        ranges = [None if math.isnan(value) else value + 0.0 for value in (self.low, self.high)]
        place = (self.identity, self.ref, self.start, self.length, int(self.kind))
        counts = (self.rows, self.raw, self.zeros, self.nans, self.error + 0.0)
        return check_of([*place, *counts, *ranges, self.base, self.depth, self.rowset])


@dataclass
class Entry:
    """An intermediate to commit. ``chunks``: block by block, part by part.

    ``rowsets``: row ids, in this order those of all rows; ``places``: where the rows are among
    them that were written, None: in their order. ``added``: bytes added to packs.
    """

    key: Key
    code: str
    form: Form
    rowsets: list[NDArray[np.int64]]
    block_rows: list[int]
    chunks: list[ChunkRow]
    added: int
    seconds: float | None
    created: float
    labels: dict[str, Any] = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)
    places: NDArray[np.int64] | None = None
