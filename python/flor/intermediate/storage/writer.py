"""Writing an intermediate: rows come in, full blocks go to the background, commit names them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import numpy as np

from flor.errors import ClosedError
from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.blocks import Cut
from flor.intermediate.storage.buffers import Block, Ids, TableRows, TensorRows, as_row_ids
from flor.intermediate.storage.entries import Entry
from flor.intermediate.storage.keep import Stored, keep_block, keep_columns

if TYPE_CHECKING:
    from flor.intermediate.storage.kept import Kept
    from flor.intermediate.storage.store import IntermediateStore


class TableWriter:
    """Takes the rows of one intermediate, in order, and keeps them when committed.

    As a context manager it commits at the end of the block, or aborts when the block raises. It
    belongs to one thread; several writers of a store may be at work at once.
    """

    def __init__(
        self, store: IntermediateStore, key: Key, form: Form, cut: Cut, *,
        labels: Mapping[str, Any], parents: Sequence[str], seconds: float | None,
    ) -> None:  # fmt: skip
        self.key, self.form, self.cut = key, form, cut
        self._store = store
        self._labels, self._parents, self._seconds = dict(labels), list(parents), seconds
        self._ids: list[Ids] = []
        self._blocks: list[Block] = []
        self._jobs: list[Future[Stored]] = []
        self._rows = 0
        self._process = os.getpid()
        self._ended = False
        tensor = form.unit_shape is not None
        self._buffer = TensorRows(cut, store._behind.rooms) if tensor else TableRows(form)

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
            self._submit(block)
        self._ids.append(ids)
        self._rows += len(ids)

    def commit(self, **facts: Any) -> Kept:
        """Make all of it durable and findable in one step; return it.

        ``seconds=``: how long computing took; other facts become labels. Raises what failed in the
        background; nothing is kept then.
        """
        self._check_open()
        try:
            for block in self._buffer.rest():
                self._submit(block)
            self._ended = True
            stored = [job.result() for job in self._jobs]
            seconds = facts.pop("seconds", self._seconds)
            return self._store._commit(self._entry(stored, seconds, facts))
        finally:
            self.abort()
            self._store._ended(self)

    def _entry(self, stored: list[Stored], seconds: float | None, facts: dict[str, Any]) -> Entry:
        chunks = [chunk for one in stored for chunk in one.chunks]
        # Tables share the rows of a block with others, tensors those of the whole.
        rowsets = [block.ids for block in self._blocks if block.ids is not None]
        places = self._buffer.places if isinstance(self._buffer, TableRows) else None
        if self.form.unit_shape is not None and self._ids:
            rowsets = [np.concatenate(self._ids)]
        return Entry(
            self.key, self.cut.code.text, self.form, rowsets,
            [block.rows for block in self._blocks], chunks, sum(one.added for one in stored),
            seconds, time.time(), self._labels | facts, self._parents, places,
        )  # fmt: skip

    def abort(self) -> None:
        """Drop what was not committed. A second call does nothing."""
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
        if self._process != os.getpid():
            raise ClosedError("a forked child has no thread to write intermediates; open the store")
        if self._ended:
            raise ClosedError("this writer of an intermediate was committed or aborted")
        for job in self._jobs:
            if job.done() and job.exception():
                self.abort()
                job.result()

    def _submit(self, block: Block) -> None:
        store, cut, buffer = self._store, self.cut, self._buffer

        def keep() -> Stored:
            if isinstance(buffer, TableRows):
                return keep_columns(store, cut, block)
            stored = keep_block(store, cut, block)
            buffer.give_back(block)
            return stored

        self._jobs.append(store._behind.submit(block.nbytes, keep))
        # What stays here is what the commit names; the values go with the job.
        self._blocks.append(Block(block.rows, 0, [], block.ids))
