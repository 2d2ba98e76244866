"""Where intermediates are kept: a catalogue, and chunks in the store's packs.

    store = IntermediateStore.open("./.flor", create=True)
    form = Form.tensor((64, 32, 32), "float32")
    with store.writer(Key(model, "conv1", data), form, "affine8") as w:
        for ids, values in batches:
            w.append(ids, values)
    kept = store.find(layer="conv1")[0]
    row_ids, values = kept.read(rows=[7, 3])

docs/decisions/0016-intermediates.md says why, docs/format_intermediates.md how it lies on disk.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor import _core
from flor.errors import ClosedError, CorruptError, InvalidError, NotFoundError
from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.behind import WriteBehind
from flor.intermediate.storage.blocks import Cut
from flor.intermediate.storage.catalogue import NAME, Catalogue, folder_of
from flor.intermediate.storage.codes import Array, Code, Kind, decode
from flor.intermediate.storage.columns import column_of, identity_of
from flor.intermediate.storage.entries import ChunkRow, Entry
from flor.intermediate.storage.kept import Kept
from flor.intermediate.storage.placement import Placer, aligned
from flor.intermediate.storage.rates import Rate
from flor.intermediate.storage.writer import TableWriter
from flor.layout import StoreLayout
from flor.runlock import alone_with_run, hold_run

IN_FLIGHT_BYTES = 256 << 20
HALF_LIFE_SECONDS = 7 * 24 * 3600.0
_READ_GUESS = (40e-6, 1e-9)  # seconds a chunk, a decoded byte
_READS_A_FLUSH = 64
_ROWSETS = 64  # whose row ids are kept in memory


class IntermediateStore:
    """Intermediates in one flor store. Thread-safe; several processes may use one store at once."""

    def __init__(self, layout: StoreLayout, *, in_flight_bytes: int = IN_FLIGHT_BYTES) -> None:
        self.layout, self.folder = layout, folder_of(layout)
        self.readonly = not os.access(layout.root, os.W_OK)
        if self.readonly and not (self.folder / NAME).exists():
            raise NotFoundError(f"{layout.root} holds no intermediates and can't be written")
        self._catalogue = Catalogue(self.folder, readonly=self.readonly)
        self._chunks = _core.ChunkStore(str(layout.root), readonly=self.readonly)
        self._behind = WriteBehind(in_flight_bytes)
        self._lock = threading.RLock()  # guards all below
        self._writers: set[TableWriter] = set()
        self._use: int | None = None  # the descriptor that says that chunks are relied on
        self._by_name: dict[bytes, ChunkRow] = {}
        self._by_number: dict[int, ChunkRow] = {}
        self._rowsets: dict[int | bytes, NDArray[np.int64]] = {}
        self._placer = Placer(self)
        self._committed: set[bytes] = set()
        self._lost: set[bytes] = set()
        self._removed = False
        self._closed = False
        self._process = os.getpid()
        self._rates: dict[str, Rate] = {}
        self._reads = 0

    @classmethod
    def open(
        cls, where: StoreLayout | str | os.PathLike[str] | None = None, create: bool = False, *,
        in_flight_bytes: int = IN_FLIGHT_BYTES,
    ) -> IntermediateStore:  # fmt: skip
        """Open the intermediates of a store: its folder, or None for ``FLOR_STORE`` or ``./.flor``.

        ``create`` makes the store when it is not there. ``in_flight_bytes``: what may wait to be
        written. Raises NotAStoreError, NotFoundError, NewerFormatError, CorruptError, StorageError.
        """
        if not isinstance(where, StoreLayout):
            where = StoreLayout.open(where, create=create)
        return cls(where, in_flight_bytes=in_flight_bytes)

    def __enter__(self) -> IntermediateStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def writer(
        self, key: Key, form: Form, code: str = "exact", *, labels: Mapping[str, Any] | None = None,
        parents: Sequence[str] = (), seconds: float | None = None,
    ) -> TableWriter:  # fmt: skip
        """Return a writer of an intermediate. ``code``: see flor.intermediate.storage.codes.

        ``parents``: layers that it was computed from. ``seconds``: what computing it took. Raises
        InvalidError for an unknown code, or one that does not fit the form.
        """
        if self.readonly:
            raise InvalidError(f"{self.layout.root} can't be written")
        cut = Cut.of(form, Code.parse(code))
        with self._lock:
            if self._closed:
                raise ClosedError("this store of intermediates is closed; open it again")
            if self._use is None:
                self._use = hold_run(self.folder)
            writer = TableWriter(
                self, key, form, cut, labels=labels or {}, parents=parents, seconds=seconds
            )
            self._writers.add(writer)
        return writer

    def find(
        self, key: Key | None = None, *, model: str | None = None, layer: str | None = None,
        data: str | None = None, what: str | None = None,
    ) -> list[Kept]:  # fmt: skip
        """Return what is kept of a key, or of all keys with these parts; newest first."""
        if key is not None:
            model, layer, data, what = key.model, key.layer, key.data, key.what
        rows = self._catalogue.intermediates(model=model, layer=layer, data=data, what=what)
        return [Kept(self, row) for row in rows]

    def remove(self, kept: Kept) -> None:
        """Forget a copy. Bytes that nothing else names go with the next ``flor gc``."""
        self._catalogue.remove(kept.number)
        with self._lock:
            self._removed = True
            if self._use is None:
                self._purge()

    def interest(
        self, key: Key, add: float = 0.0, *, half_life: float = HALF_LIFE_SECONDS,
        now: float | None = None,
    ) -> float:  # fmt: skip
        """Add to how often an intermediate is asked for; return it, decayed to ``now``."""
        moment = time.time() if now is None else now

        def decayed(reads: float, updated: float) -> tuple[float, float]:
            return reads * 0.5 ** (max(0.0, moment - updated) / half_life) + add, moment

        if add == 0.0:
            found = {name: (reads, when) for name, reads, when in self._catalogue.interests()}
            return decayed(*found.get(key, (0.0, moment)))[0]
        return self._catalogue.interest(key, decayed)

    def interests(
        self, *, half_life: float = HALF_LIFE_SECONDS, now: float | None = None
    ) -> dict[Key, float]:
        """Return the interest in all intermediates, decayed to ``now``."""
        moment = time.time() if now is None else now
        return {
            key: reads * 0.5 ** (max(0.0, moment - when) / half_life)
            for key, reads, when in self._catalogue.interests()
        }

    def fact(self, name: str) -> Any:
        """Return a JSON value that :meth:`set_fact` kept (measured rates); None without one."""
        return self._catalogue.fact(name)

    def set_fact(self, name: str, value: Any) -> None:
        """Keep a JSON value with the catalogue."""
        self._catalogue.set_fact(name, value)

    @property
    def waits(self) -> tuple[int, float]:
        """How often, and how many seconds, writers waited for room."""
        return self._behind.waits, self._behind.waited_seconds

    @property
    def background_seconds(self) -> float:
        """Processor time that writing behind has taken."""
        return self._behind.busy_seconds

    def close(self) -> None:
        """Abort what was not committed and end all use.

        A second call, or one in a forked child, does nothing.
        """
        if self._process != os.getpid():
            return
        with self._lock:
            writers = list(self._writers)
        for writer in writers:
            writer.abort()
        self._behind.close()  # without the lock, which its jobs take
        with self._lock:
            if self._closed:
                return
            self._closed = True
            if not self.readonly:
                self._flush_rates()
            if self._use is not None:
                os.close(self._use)
                self._use = None
            if self._removed:
                self._purge()
            self._chunks.close()
            self._catalogue.close()

    # --- for writers

    def _known(self, names: Sequence[bytes]) -> dict[bytes, ChunkRow]:
        """Return those of these chunks that are in the store. Only while a writer is open."""
        with self._lock:
            found = {name: self._by_name[name] for name in names if name in self._by_name}
            rest = [name for name in dict.fromkeys(names) if name not in found]
            if rest:
                for name, chunk in self._catalogue.chunks(rest).items():
                    if self._is_whole(chunk):
                        self._by_name[name] = found[name] = chunk
                        self._committed.add(name)
                    else:
                        self._lost.add(name)  # stored anew by who has the values
        return found

    def _is_whole(self, chunk: ChunkRow) -> bool:
        """Whether the packs hold a chunk, and what it is a difference to."""
        based = chunk.base is None or bool(self._known([chunk.base]))
        return based and self._chunks.contains(chunk.ref)

    def _remember(self, chunk: ChunkRow) -> None:
        with self._lock:
            self._by_name[chunk.identity] = chunk
        self._placer.add(chunk)

    def _commit(self, entry: Entry) -> Kept:
        with self._lock:
            new: dict[bytes, ChunkRow] = {}
            for chunk in entry.chunks:
                self._with_bases(chunk, new)
        self._chunks.sync()
        number = self._catalogue.commit(entry, list(new.values()))
        with self._lock:
            self._committed.update(new)
            if self._lost.intersection(new):
                self._lost.difference_update(new)
                self._by_number.clear()  # they are elsewhere now
            for chunk in new.values():
                chunk.ids = None  # the catalogue has them
        return Kept(self, self._catalogue.intermediates(id=number)[0])

    def _with_bases(self, chunk: ChunkRow, new: dict[bytes, ChunkRow]) -> None:
        """Collect what must be committed with a chunk, bases first."""
        if chunk.identity in new or chunk.identity in self._committed:
            return
        if chunk.base is not None:
            self._with_bases(self._known([chunk.base])[chunk.base], new)
        new[chunk.identity] = chunk

    def _ended(self, writer: TableWriter) -> None:
        with self._lock:
            self._writers.discard(writer)
            if not self._writers:
                self._behind.rooms.clear()

    def _purge(self) -> None:
        """Forget chunks that nothing names, unless a writer of some process relies on them."""
        with alone_with_run(self.folder) as alone:
            if alone:
                self._catalogue.purge()
                self._by_name.clear()
                self._by_number.clear()
                self._committed.clear()
                self._placer.forget()
                self._removed = False

    # --- for readers

    def _row_ids(self, rowset: int | bytes) -> NDArray[np.int64]:
        with self._lock:
            if rowset not in self._rowsets:
                while len(self._rowsets) >= _ROWSETS:
                    del self._rowsets[next(iter(self._rowsets))]
                self._rowsets[rowset] = self._catalogue.row_ids(rowset)
            return self._rowsets[rowset]

    def _chunk_rows(self, numbers: NDArray[Any]) -> dict[int, ChunkRow]:
        wanted = np.unique(numbers).tolist()
        with self._lock:
            rest = [one for one in wanted if one not in self._by_number]
            if rest:
                self._by_number.update(self._catalogue.chunks_by_id(rest))
            return {one: self._by_number[one] for one in wanted}

    def _payload(self, chunk: ChunkRow) -> Array:
        payload = np.empty(chunk.length, np.uint8)
        if chunk.length:
            self._chunks.read_into(chunk.ref, payload, chunk.start)
        return payload

    def _column(self, chunk: ChunkRow, dtype: str) -> Array:
        """Return the values of a column of a table."""
        if chunk.kind != Kind.COLUMN:
            return decode(chunk.kind, self._payload(chunk), (chunk.rows, 1), dtype).reshape(-1)
        content = np.empty(chunk.raw, np.uint8)
        base = None if chunk.base is None else self._base(chunk, dtype)
        _core.column_decode(self._payload(chunk), content, base)
        values = column_of(content, dtype, chunk.rows)
        if base is not None:
            head = f"{dtype} exact0 {chunk.rows} ".encode()
            if identity_of(head, content) != chunk.identity:
                raise CorruptError(
                    f"a kept column decodes to other content: its base or the row ids in "
                    f"{self._catalogue.path} are damaged"
                )
        return values

    def _base(self, chunk: ChunkRow, dtype: str) -> Array:
        assert chunk.base is not None
        base = self._by_name.get(chunk.base) or self._catalogue.chunks([chunk.base])[chunk.base]
        if base.depth >= chunk.depth:
            raise CorruptError("a kept column is a difference to one that is no nearer to its end")
        values = self._column(base, dtype)
        like = aligned(values, self._rows_of_chunk(base), self._rows_of_chunk(chunk))
        if like is None:
            raise CorruptError("a kept column is a difference to one whose row ids do not ascend")
        return np.ascontiguousarray(like)

    def _rows_of_chunk(self, chunk: ChunkRow) -> NDArray[np.int64]:
        if chunk.ids is not None:
            return chunk.ids
        if chunk.rowset is None:
            raise CorruptError("a kept column that others are differences to has no row ids")
        return self._row_ids(chunk.rowset)

    def _rate(self, kept: Kept) -> Rate:
        form = "table" if kept.form.unit_shape is None else "tensor"
        name = f"read:{form}:{kept.code}"
        with self._lock:
            if name not in self._rates:
                self._rates[name] = Rate(_READ_GUESS, self._catalogue.fact(name))
            return self._rates[name]

    def _read_seconds(self, kept: Kept, chunks: int, nbytes: int) -> float:
        return self._rate(kept).seconds((chunks, nbytes))

    def _note_read(self, kept: Kept, chunks: int, nbytes: int, seconds: float) -> None:
        rate = self._rate(kept)
        with self._lock:
            rate.note((chunks, nbytes), seconds)
            self._reads += 1
            if self._reads % _READS_A_FLUSH == 0 and not self.readonly:
                self._flush_rates()

    def _flush_rates(self) -> None:
        for name, rate in self._rates.items():
            self._catalogue.set_fact(name, rate.state())
