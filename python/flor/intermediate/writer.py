"""Writing an intermediate: rows come in, full blocks go to the background, commit names them.

Thread-safe between writers; one writer belongs to one thread at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import ClosedError, InvalidError
from flor.intermediate.blocks import Cut, flat, spans, stats_of, table_cuts
from flor.intermediate.catalogue import ChunkRow, Entry
from flor.intermediate.codes import Array, Kind, encode, largest_difference
from flor.intermediate.columns import as_column, content_of, identity_of
from flor.intermediate.forms import Form, Key

if TYPE_CHECKING:
    from flor.intermediate.kept import Kept
    from flor.intermediate.store import IntermediateStore

Ids = NDArray[np.int64]


class WriteBehind:
    """One thread that encodes and stores, and a bound on the bytes that wait for it.

    ``waits``, ``waited_seconds``: how often and how long a writer waited for room.
    ``busy_seconds``: processor time of the thread's jobs.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.waits, self.waited_seconds, self.in_flight = 0, 0.0, 0
        self.busy_seconds = 0.0
        self._room = threading.Condition()
        self._thread = ThreadPoolExecutor(1, "flor-intermediates")

    def submit(self, nbytes: int, job: Callable[[], list[ChunkRow]]) -> Future[list[ChunkRow]]:
        """Do ``job`` in the background, which holds so many bytes; waits while there is no room."""
        with self._room:
            if self.in_flight and self.in_flight + nbytes > self.limit_bytes:
                began = time.perf_counter()
                self._room.wait_for(
                    lambda: not self.in_flight or self.in_flight + nbytes <= self.limit_bytes
                )
                self.waits += 1
                self.waited_seconds += time.perf_counter() - began
            self.in_flight += nbytes
        future = self._thread.submit(self._timed, job)
        future.add_done_callback(lambda _done: self._release(nbytes))
        return future

    def _timed(self, job: Callable[[], list[ChunkRow]]) -> list[ChunkRow]:
        begun = time.thread_time()
        try:
            return job()
        finally:
            self.busy_seconds += time.thread_time() - begun

    def _release(self, nbytes: int) -> None:
        with self._room:
            self.in_flight -= nbytes
            self._room.notify_all()

    def close(self) -> None:
        """Finish what was submitted and end the thread."""
        self._thread.shutdown(wait=True)


class TableWriter:
    """Takes the rows of one intermediate, in order, and keeps them when committed.

    As a context manager it commits at the end of the block, or aborts when the block raises.
    """

    def __init__(
        self, store: IntermediateStore, key: Key, form: Form, cut: Cut, *,
        labels: Mapping[str, Any], parents: Sequence[str], seconds: float | None,
    ) -> None:  # fmt: skip
        self.key, self.form, self.cut = key, form, cut
        self._store = store
        self._labels, self._parents, self._seconds = dict(labels), list(parents), seconds
        self._ids: list[Ids] = []
        self._block_rows: list[int] = []
        self._jobs: list[Future[list[ChunkRow]]] = []
        self._rows = 0
        self._ended = False
        self._buffer = _TableRows(form) if form.unit_shape is None else _TensorRows(cut)

    @property
    def rows(self) -> int:
        """How many rows were appended."""
        return self._rows

    def append(self, row_ids: Any, values: Any) -> None:
        """Take rows: ids (n,), values (n, *unit_shape), or {column: n values}; copied.

        Waits while too many bytes are on their way to the disk. Raises InvalidError where shapes or
        dtypes are not those of the form, and what failed in the background.
        """
        self._check_open()
        ids = as_row_ids(row_ids)
        for block in self._buffer.take(ids, values):
            self._submit(*block)
        self._ids.append(ids)
        self._rows += len(ids)

    def commit(self, **facts: Any) -> Kept:
        """Make all of it durable and findable in one step; return it.

        ``seconds=``: how long computing took; other facts become labels.
        """
        self._check_open()
        for block in self._buffer.rest():
            self._submit(*block)
        self._ended = True
        try:
            chunks = [chunk for job in self._jobs for chunk in job.result()]
            seconds = facts.pop("seconds", self._seconds)
            ids = np.concatenate(self._ids) if self._ids else np.zeros(0, np.int64)
            entry = Entry(
                self.key, self.cut.code.text, self.form, identity_of(ids), ids, self._block_rows,
                [chunk.identity for chunk in chunks], 0,
                max((chunk.error for chunk in chunks), default=0.0), seconds, time.time(),
                self._labels | facts, self._parents,
            )  # fmt: skip
            return self._store._commit(entry, chunks)
        finally:
            self._store._ended(self)

    def abort(self) -> None:
        """Drop all of it. Nothing after commit() or a first abort()."""
        if not self._ended:
            self._ended = True
            for job in self._jobs:
                job.cancel()
            self._store._ended(self)

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.abort()
        elif not self._ended:
            self.commit()

    def _check_open(self) -> None:
        if self._ended:
            raise ClosedError("this writer of an intermediate was committed or aborted")
        failed = [job for job in self._jobs if job.done() and job.exception()]
        if failed:
            self.abort()
            failed[0].result()

    def _submit(self, rows: int, nbytes: int, parts: list[Array], error: float) -> None:
        first = sum(self._block_rows)
        self._block_rows.append(rows)
        keep = _keep_columns if self.form.unit_shape is None else _keep_block
        store, cut = self._store, self.cut
        job = self._store._behind.submit(nbytes, lambda: keep(store, cut, parts, first, error))
        self._jobs.append(job)


def as_row_ids(row_ids: Any) -> Ids:
    """Return row ids as int64, a copy; raises InvalidError."""
    ids = np.asarray(row_ids)
    if ids.ndim != 1 or (ids.dtype.kind not in "iu" and ids.size):
        raise InvalidError(f"row ids are a vector of integers, not {ids.dtype} {ids.shape}")
    return ids.astype(np.int64)


Block = tuple[int, int, list[Array], float]  # rows, bytes, parts of it, error of pooling


class _TensorRows:
    """Rows of a tensor until they fill a block."""

    def __init__(self, cut: Cut) -> None:
        self.cut, self.used, self.error = cut, 0, 0.0
        self.dtype = np.dtype(cut.kept.parts[0].dtype)
        self.room = self._empty()

    def _empty(self) -> Array:
        return np.empty((self.cut.block_rows, int(self.cut.starts[-1])), self.dtype)

    def take(self, ids: Ids, values: Any) -> list[Block]:
        """Copy rows; return the blocks that are full."""
        array = np.asarray(values)
        shape = self.cut.form.unit_shape
        if array.shape != (len(ids), *(shape or ())) or array.dtype != self.dtype:
            raise InvalidError(
                f"values are {array.dtype} {array.shape}; the form says {self.dtype} "
                f"({len(ids)} rows, {shape})"
            )
        pooled = self.cut.code.pool(array)
        if pooled is not array:
            self.error = max(self.error, pool_error(self.cut, array, pooled))
        rows, blocks, at = flat(pooled, len(ids)), [], 0
        while at < len(rows):
            count = min(len(rows) - at, self.cut.block_rows - self.used)
            self.room[self.used : self.used + count] = rows[at : at + count]
            self.used, at = self.used + count, at + count
            if self.used == self.cut.block_rows:
                blocks += self.rest()
        return blocks

    def rest(self) -> list[Block]:
        """Return what there is as a block."""
        if not self.used:
            return []
        block = (self.used, self.room.nbytes, [self.room[: self.used]], self.error)
        self.room, self.used, self.error = self._empty(), 0, 0.0
        return [block]


def pool_error(cut: Cut, values: Array, pooled: Array) -> float:
    """Return how far a value is from that of its cell at most."""
    shape = cut.form.unit_shape
    assert shape is not None
    return largest_difference(values, cut.code.unpool(pooled, shape))


class _TableRows:
    """Rows of a table until they are committed: where blocks end is known with all row ids."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.ids: list[Ids] = []
        self.columns: list[list[Array]] = [[] for _ in form.parts]

    def take(self, ids: Ids, values: Any) -> list[Block]:
        """Copy rows."""
        names = [part.name for part in self.form.parts]
        if set(values) != set(names):
            odd = sorted(set(values) ^ set(names))
            raise InvalidError(f"the columns are not those of the form: {', '.join(map(str, odd))}")
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
        blocks = []
        for begin, end in spans(table_cuts(ids)):
            parts = [column[begin:end] for column in whole]
            blocks.append((end - begin, sum(part.nbytes for part in parts), parts, 0.0))
        return blocks


def _keep_block(
    store: IntermediateStore, cut: Cut, parts: list[Array], _first: int, pooling: float
) -> list[ChunkRow]:
    """Encode and store the parts of a block of a tensor."""
    block, chunks = parts[0], []
    for at, width in enumerate(cut.widths):
        begin = int(cut.starts[at])
        part = np.ascontiguousarray(block[:, begin : begin + width])
        coded = encode(cut.code, part, cut.channels(at))
        stats = stats_of(part)
        payload = np.frombuffer(coded.payload, np.uint8)
        ref = store._chunks.put(payload)
        row = ChunkRow(
            b"", ref, 0, payload.nbytes, coded.kind, len(part), stats.low, stats.high,
            stats.zeros, stats.nans, coded.error + pooling,
        )  # fmt: skip
        # What is known of the true values is part of the name: equal codes may stand for others.
        known = repr((int(row.kind), row.rows, row.low, row.high, row.zeros, row.nans, row.error))
        row.identity = identity_of(known.encode(), ref)
        chunks.append(row)
    return chunks


def _keep_columns(
    store: IntermediateStore, cut: Cut, parts: list[Array], first: int, _pooling: float
) -> list[ChunkRow]:
    """Encode and store the columns of a block of a table, those that are not there already."""
    contents = [content_of(p.name, v) for p, v in zip(cut.kept.parts, parts, strict=True)]
    names = [
        identity_of(f"{part.dtype} {cut.code.value} {len(values)} ".encode(), content)
        for part, values, content in zip(cut.kept.parts, parts, contents, strict=True)
    ]
    known = store._known(names)
    chunks = []
    for name, values, content in zip(names, parts, contents, strict=True):
        if name not in known:
            known[name] = _keep_column(store, cut, name, values, content, first)
            store._remember(known[name])
        chunks.append(known[name])
    return chunks


def _keep_column(
    store: IntermediateStore, cut: Cut, name: bytes, values: Array, content: Any, first: int
) -> ChunkRow:
    coded = encode(cut.code, values.reshape(-1, 1)) if values.dtype.kind == "f" else None
    payload, kind, error = content, Kind.EXACT, 0.0
    if coded is not None and coded.kind != Kind.EXACT:
        payload, kind, error = coded.payload, coded.kind, coded.error
    payload = np.frombuffer(payload, np.uint8)
    stats = stats_of(values)
    ref = store._chunks.put(payload)
    return ChunkRow(
        name, ref, 0, payload.nbytes, kind, len(values), stats.low, stats.high, stats.zeros,
        stats.nans, error, first=first,
    )  # fmt: skip
