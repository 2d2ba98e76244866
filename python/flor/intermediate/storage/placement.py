"""Finding the stored chunk that a column is most like, so that it is stored as the difference.

A column's tokens are (row id, value rounded to three bits of mantissa), for a sample of row ids
that is the same for every column. MinHash of the tokens estimates how much two columns share; bands
of three hashes find the candidates, as in J. Leskovec et al., "Mining of Massive Datasets", chapter
3. MISTIQUE (SIGMOD 2018, section 4.2) puts like chunks in one partition and compresses that; here
the rows of the base are put in the order of the column's by their ids, so that a filtered table's
columns are differences of nothing.

Thread-safe.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flor.intermediate.storage.codes import Array

if TYPE_CHECKING:
    from flor.intermediate.storage.entries import ChunkRow
    from flor.intermediate.storage.store import IntermediateStore

Ids = NDArray[np.int64]
MAX_DEPTH = 3  # how many chunks are read for one at most, besides itself
_BANDS, _HASHES = 16, 3
_LEAST_BANDS = 2
_CANDIDATES = 3
_LEAST_ROWS = 64
_DENSE_ROWS = 8192  # blocks with fewer rows are sampled more densely
_CACHED_BYTES = 64 << 20


def sketch_of(dtype: str, values: Array, ids: Ids) -> bytes | None:
    """Return 16 band hashes of a column; None for texts and short columns."""
    if values.dtype.kind not in "biuf" or values.itemsize > 8 or len(values) < _LEAST_ROWS:
        return None
    rows = _mixed(ids.astype(np.uint64))
    few = np.uint64(63 if len(values) >= _DENSE_ROWS else 7)
    sampled = np.flatnonzero(rows & few == 0)
    if len(sampled) < _LEAST_ROWS // 8:
        return None
    rounded = values[sampled].astype(np.float64).view(np.uint64) >> np.uint64(49)
    kind = np.uint64(int.from_bytes(dtype.encode()[:8].ljust(8), "little"))
    tokens = _mixed(rows[sampled] ^ _mixed(rounded ^ kind))
    least = (tokens[:, None] * _MULTIPLY + _ADD >> np.uint64(32)).min(axis=0)
    bands = least.reshape(_BANDS, _HASHES) * np.array([1, 31, 961], np.uint64)
    return (_mixed(bands.sum(axis=1)) >> np.uint64(48)).astype("<u2").tobytes()


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a hash of each number (the finalizer of SplitMix64)."""
    mixed = (values ^ values >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return mixed ^ mixed >> np.uint64(31)


_MULTIPLY = _mixed(np.arange(1, 1 + _BANDS * _HASHES, dtype=np.uint64)) | np.uint64(1)
_ADD = _mixed(_MULTIPLY)


def aligned(values: Array, base_ids: Ids, ids: Ids) -> Array | None:
    """Return values of a base in the order of ``ids``; rows that it lacks are zeros.

    None where the base's row ids don't ascend: a row may stand there twice.
    """
    if len(ids) == len(base_ids) and np.array_equal(ids, base_ids):
        return values
    if not len(base_ids) or not (np.diff(base_ids) > 0).all():
        return None
    place = np.minimum(np.searchsorted(base_ids, ids), len(base_ids) - 1)
    out = values[place]
    out[base_ids[place] != ids] = np.zeros(1, values.dtype)[0]
    return out


def _apart(values: Array, base: Array) -> float:
    """Return about how many bits of a value differ."""
    whole = np.dtype(f"u{values.dtype.itemsize}")
    differing = (values.view(whole) ^ base.view(whole)).astype(np.float64)
    return float(np.log2(1 + differing).mean())


class Placer:
    """The sketches of the chunks of a store, and decoded bases that may be asked for again."""

    def __init__(self, store: IntermediateStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._names: list[bytes] | None = None
        self._bands = np.zeros((64, _BANDS), np.uint16)
        self._cache: OrderedDict[bytes, Array] = OrderedDict()

    def place(
        self, dtype: str, values: Array, ids: Ids, *, alone: bool = False
    ) -> tuple[bytes | None, ChunkRow | None, Array | None]:
        """Return (sketch, base, the base's values in this column's order); None without one.

        ``alone``: without a base.
        """
        sketch = sketch_of(dtype, values, ids)
        if sketch is None or alone:
            return sketch, None, None
        best: tuple[float, ChunkRow, Array] | None = None
        for base in self._candidates(sketch):
            like = self._aligned(base, dtype, ids)
            if like is not None:
                apart = _apart(values, like)
                if best is None or apart < best[0]:
                    best = (apart, base, like)
        return (sketch, None, None) if best is None else (sketch, best[1], best[2])

    def add(self, chunk: ChunkRow) -> None:
        """Let later columns be differences to this chunk."""
        if chunk.sketch is not None and chunk.depth < MAX_DEPTH:
            with self._lock:
                self._append(self._loaded(), chunk.identity, chunk.sketch)

    def forget(self) -> None:
        """Read the sketches anew when they are next needed."""
        with self._lock:
            self._names = None
            self._cache.clear()

    def _loaded(self) -> list[bytes]:
        if self._names is None:
            self._names = []
            for identity, sketch, depth in self._store._catalogue.sketched():
                if depth < MAX_DEPTH:
                    self._append(self._names, identity, sketch)
        return self._names

    def _append(self, names: list[bytes], identity: bytes, sketch: bytes) -> None:
        if len(names) == len(self._bands):
            self._bands = np.concatenate([self._bands, np.zeros_like(self._bands)])
        self._bands[len(names)] = np.frombuffer(sketch, "<u2")
        names.append(identity)

    def _candidates(self, sketch: bytes) -> list[ChunkRow]:
        with self._lock:
            names = self._loaded()
            shared = (self._bands[: len(names)] == np.frombuffer(sketch, "<u2")).sum(axis=1)
            nearest = np.argsort(-shared, kind="stable")[:_CANDIDATES]
            near = [names[at] for at in nearest.tolist() if shared[at] >= _LEAST_BANDS]
        found = self._store._known(near)
        return [found[name] for name in near if name in found]

    def _aligned(self, base: ChunkRow, dtype: str, ids: Ids) -> Array | None:
        values = self._cache.get(base.identity)
        if values is None:
            values = self._store._column(base, dtype)
            self._cache[base.identity] = values
            while sum(one.nbytes for one in self._cache.values()) > _CACHED_BYTES:
                self._cache.popitem(last=False)
        return aligned(values, self._store._rows_of_chunk(base), ids)
