"""A kept intermediate: what it is, and its values read back. Thread-safe."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flor import _core
from flor.errors import CorruptError, InvalidError
from flor.intermediate.forms import Key
from flor.intermediate.storage.blocks import Bounds, Cut
from flor.intermediate.storage.codes import Array, Code, Kind, decode
from flor.intermediate.storage.entries import ChunkRow
from flor.intermediate.storage.packing import unpack_form, unpack_numbers

if TYPE_CHECKING:
    from flor.intermediate.storage.store import IntermediateStore

Ids = NDArray[np.int64]


class Kept:
    """A stored copy of an intermediate.

    ``key``, ``form``, ``code``; ``rows``; ``nbytes``: bytes that it added to the store, after
    dedup; ``error``: no value is read that is farther than this from the true one; ``seconds``:
    what computing took, None when nobody said; ``labels``, ``parents``; ``created``: Unix seconds.
    """

    def __init__(self, store: IntermediateStore, row: dict[str, Any]) -> None:
        self._store, self.number = store, int(row["id"])
        self.key = Key(row["model"], row["layer"], row["data"], row["what"])
        self.form = unpack_form(row["packed_form"])
        self.code = str(row["code"])
        self.rows, self.nbytes = int(row["rows"]), int(row["nbytes"])
        self.error = float(row["error"])
        self.seconds: float | None = row["seconds"]
        self.created = float(row["created"])
        self.labels: dict[str, Any] = json.loads(row["labels"])
        self.parents: tuple[str, ...] = tuple(json.loads(row["parents"]))
        self._rowsets = unpack_numbers(row["rowsets"]).tolist()
        self._order: int | None = row["places"]
        self._cut = Cut.of(self.form, Code.parse(self.code))
        self._block_rows = unpack_numbers(row["blocks"]).astype(np.int64)
        self._numbers = unpack_numbers(row["chunks"])
        if len(self._numbers) != len(self._block_rows) * len(self._cut.kept.parts):
            raise CorruptError(f"the list of chunks of {self.key} is damaged")
        self._numbers = self._numbers.reshape(len(self._block_rows), len(self._cut.kept.parts))

    def __repr__(self) -> str:
        return f"Kept({self.key.layer!r}, {self.code}, {self.rows} rows, {self.nbytes} bytes)"

    def row_ids(self) -> Ids:
        """Return the ids of its rows, int64 (rows,), in the order in which they were written."""
        return self._ids.copy()

    def read(
        self, rows: Any = None, units: Any = None, *, parts: Sequence[int] | None = None
    ) -> tuple[Ids, Any]:
        """Return (row ids int64 (n,), values).

        ``rows``: row ids, in the order wanted (one that stands several times comes each time), a
        slice of positions, or None. Of a table: {column: (n,)}; ``units``: names of columns. Of a
        tensor: (n, *unit_shape); with ``units``, flat indices of units in C order: (n, k); with
        ``parts``, indices of the first axis: (n, k, *rest). Reads only the chunks that it needs.
        Raises InvalidError for rows or units that are not there, CorruptError, LostChunkError.
        """
        began = time.perf_counter()
        places = self._places(rows)
        ids = self._ids[places]
        touched = _Touched()
        if self.form.unit_shape is None:
            if parts is not None:
                raise InvalidError("a table has named columns: give units=, not parts=")
            values: Any = self._read_table(places, units, touched)
        elif parts is not None:
            values = self._read_parts(places, parts, touched)
        elif units is not None:
            values = self._read_units(places, units, touched)
        else:
            values = self._read_all(places, touched)
        self._store._note_read(self, touched.chunks, touched.nbytes, time.perf_counter() - began)
        return ids, values

    def chunk_lengths(self) -> dict[int, int]:
        """Return the lengths of its chunks, as they are before the store's codecs, by number."""
        return {number: row.length for number, row in self._rows_of(self._numbers).items()}

    def bounds(self, units: Any = None) -> Bounds:
        """Return what is known of units in each block; ``units`` as for :meth:`read`."""
        if self.form.unit_shape is None:
            parts = self._named(units)
        else:
            wanted = np.arange(self.form.units) if units is None else _integers(units)
            columns = self._cut.columns_of(wanted)
            parts = (np.searchsorted(self._cut.starts, columns, "right") - 1).tolist()
        rows = self._block_rows
        chunk = self._rows_of(self._numbers[:, sorted(set(parts))])
        table = [[chunk[int(self._numbers[b, p])] for p in parts] for b in range(len(rows))]
        shape = (len(rows), len(parts))

        def field(name: str, dtype: Any) -> NDArray[Any]:
            cells = [getattr(one, name) for line in table for one in line]
            return np.array(cells, dtype).reshape(shape)

        if self._order is not None:
            return _as_one_block(table, self.rows)
        return Bounds(
            np.cumsum(rows) - rows, rows, field("low", np.float64), field("high", np.float64),
            field("zeros", np.int64), field("nans", np.int64), field("error", np.float64),
        )  # fmt: skip

    def estimate(self, rows: Any = None, units: Any = None) -> float:
        """Return how many seconds :meth:`read` should take, by rates measured before."""
        if rows is None:
            blocks = np.arange(len(self._block_rows))
        else:
            places = self._places(rows)
            stands = places if self._order is None else self._stands[places]
            blocks = np.unique(self._block_of(stands))
        if self.form.unit_shape is None:
            parts = len(self._named(units))
            nbytes = sum(self.form.parts[p].row_bytes for p in self._named(units))
        elif units is None:
            parts, nbytes = len(self._cut.kept.parts), self._cut.kept.row_bytes
        else:
            columns = self._cut.columns_of(_integers(units))
            used = np.unique(np.searchsorted(self._cut.starts, columns, "right") - 1)
            parts = len(used)
            nbytes = sum(self._cut.kept.parts[p].row_bytes for p in used)
        count = int(self._block_rows[blocks].sum()) if len(blocks) else 0
        return self._store._read_seconds(self, len(blocks) * parts, count * nbytes)

    # --- rows

    @cached_property
    def _ids(self) -> Ids:
        every = [self._store._row_ids(rowset) for rowset in self._rowsets]
        ids = np.concatenate(every) if every else np.zeros(0, np.int64)
        if len(ids) != self.rows:
            raise CorruptError(f"the row ids of {self.key} are damaged: they are {len(ids)}")
        return ids if self._order is None else ids[self._stands]

    @cached_property
    def _stands(self) -> NDArray[np.int64]:
        """Where each row stands in the order of row ids, in which it is kept."""
        assert self._order is not None
        places = self._store._row_ids(self._order)
        if len(places) != self.rows or (np.sort(places) != np.arange(self.rows)).any():
            raise CorruptError(f"the order of the rows of {self.key} is damaged")
        return places

    @cached_property
    def _sorted(self) -> tuple[NDArray[np.int64], Ids]:
        order = np.argsort(self._ids, kind="stable")
        return order, self._ids[order]

    @cached_property
    def _firsts(self) -> NDArray[np.int64]:
        return np.cumsum(self._block_rows) - self._block_rows

    def _block_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.searchsorted(self._firsts, places, "right") - 1

    def _places(self, rows: Any) -> NDArray[np.int64]:
        if rows is None:
            return np.arange(self.rows)
        if isinstance(rows, slice):
            return np.arange(self.rows)[rows]
        wanted = _integers(rows)
        order, ids = self._sorted
        begin, end = np.searchsorted(ids, wanted, "left"), np.searchsorted(ids, wanted, "right")
        missing = wanted[begin == end]
        if len(missing):
            known = f"{ids[0]} to {ids[-1]}" if len(ids) else "none"
            raise InvalidError(
                f"row {int(missing[0])} is not among the {self.rows} rows kept of "
                f"{self.key.layer!r} (ids {known})"
                + (f"; nor are {len(missing) - 1} more" if len(missing) > 1 else "")
            )
        counts = end - begin
        starts = np.repeat(begin - (np.cumsum(counts) - counts), counts)
        return order[starts + np.arange(int(counts.sum()))]

    # --- values

    def _named(self, units: Any) -> list[int]:
        names = [part.name for part in self.form.parts]
        if units is None:
            return list(range(len(names)))
        wanted = [units] if isinstance(units, str) else list(units)
        unknown = [name for name in wanted if name not in names]
        if unknown:
            raise InvalidError(
                f"{self.key.layer!r} has no column {unknown[0]!r}; it has {', '.join(names[:20])}"
                + (" …" if len(names) > 20 else "")
            )
        return [names.index(name) for name in wanted]

    def _read_table(self, places: Any, units: Any, touched: _Touched) -> dict[str, Array]:
        parts = self._named(units)
        out = {}
        for part in parts:
            dtype = np.dtype(self.form.parts[part].dtype)
            column = np.empty(len(places), dtype)
            out[self.form.parts[part].name] = column
        for block, into, local in self._blocks(places):
            chunks = self._rows_of(self._numbers[block : block + 1, parts])
            for part in parts:
                chunk = chunks[int(self._numbers[block, part])]
                told = self.form.parts[part]
                touched.add(chunk)
                values = self._store._column(chunk, told.dtype)
                out[told.name][into] = values[local]
        return out

    def _read_all(self, places: Any, touched: _Touched) -> Array:
        shape, kept = self.form.unit_shape, self._cut.kept
        assert shape is not None and kept.unit_shape is not None
        every = np.arange(len(kept.parts))
        flat = self._fill_parts(places, every, self._cut.starts, touched)
        return self._cut.code.unpool(flat.reshape(len(places), *kept.unit_shape), shape)

    def _read_parts(self, places: Any, parts: Sequence[int], touched: _Touched) -> Array:
        """Read slices of the first axis; of scalar units those."""
        shape, kept = self.form.unit_shape, self._cut.kept.unit_shape
        assert shape is not None and kept is not None
        wanted, limit = _integers(list(parts)), shape[0] if shape else 1
        if wanted.size and (wanted.min() < 0 or wanted.max() >= limit):
            raise InvalidError(f"parts go from 0 to {limit - 1}; {wanted.tolist()[:8]} do not")
        if len(kept) < 2:  # several units a part
            flat = self._read_columns(places, wanted, touched)
        else:
            ends = np.arange(len(wanted) + 1) * self._cut.widths[0]
            flat = self._fill_parts(places, wanted, ends, touched)
        values = flat.reshape(len(places), len(wanted), *kept[1:])
        return self._cut.code.unpool(values, (len(wanted), *shape[1:]))

    def _fill_parts(
        self, places: Any, parts: NDArray[np.int64], starts: NDArray[np.int64], touched: _Touched
    ) -> Array:
        """Read whole parts into flat rows, the n-th from column ``starts[n]`` on."""
        out = np.empty((len(places), int(starts[len(parts)])), self._cut.kept.parts[0].dtype)
        for block, into, local in self._blocks(places):
            chunks = self._rows_of(self._numbers[block : block + 1, parts])
            for part, start in zip(parts.tolist(), starts.tolist(), strict=False):
                chunk = chunks[int(self._numbers[block, part])]
                touched.add(chunk)
                if _is_whole(local, chunk) and chunk.kind == Kind.AFFINE8 and out.itemsize == 4:
                    self._decode_into(out, into.start, start, chunk, part)
                else:
                    values = self._values(chunk, part)
                    out[into, start : start + values.shape[1]] = values[local]
        return out

    def _decode_into(self, out: Array, row: int, column: int, chunk: ChunkRow, part: int) -> None:
        """Decode a whole chunk where its values go."""
        width, stride = self._cut.widths[part], out.shape[1]
        payload = self._store._payload(chunk)
        first = row * stride + column
        channels = self._cut.channels(part)
        _core.affine_decode(payload, channels, out, chunk.rows, width, first, stride)

    def _read_units(self, places: Any, units: Any, touched: _Touched) -> Array:
        return self._read_columns(places, self._cut.columns_of(_integers(units)), touched)

    def _read_columns(self, places: Any, columns: NDArray[np.int64], touched: _Touched) -> Array:
        """Read columns of flat rows as they are kept: (n, columns)."""
        out = np.empty((len(places), len(columns)), self._cut.kept.parts[0].dtype)
        owner = np.searchsorted(self._cut.starts, columns, "right") - 1
        parts = np.unique(owner)
        for block, into, local in self._blocks(places):
            chunks = self._rows_of(self._numbers[block : block + 1, parts])
            for part in parts.tolist():
                chunk = chunks[int(self._numbers[block, part])]
                values = self._values(chunk, part)
                touched.add(chunk)
                mine = np.flatnonzero(owner == part)
                within = columns[mine] - self._cut.starts[part]
                if isinstance(local, slice) and isinstance(into, slice):
                    out[into, mine] = values[local][:, within]
                else:
                    out[np.ix_(np.arange(len(places))[into], mine)] = values[local][:, within]
        return out

    def _blocks(self, places: NDArray[np.int64]) -> Iterator[tuple[int, Any, Any]]:
        """Yield (block, where its rows go in the result, which of its rows) for these positions."""
        if not len(places):
            return
        if self._order is not None:
            places = self._stands[places]
        blocks = self._block_of(places)
        if (np.diff(places) == 1).all():
            edges = np.flatnonzero(np.diff(blocks)) + 1
            for begin, end in zip(
                [0, *edges.tolist()], [*edges.tolist(), len(places)], strict=True
            ):
                first = int(places[begin] - self._firsts[blocks[begin]])
                yield int(blocks[begin]), slice(begin, end), slice(first, first + end - begin)
            return
        order = np.argsort(blocks, kind="stable")
        edges = np.flatnonzero(np.diff(blocks[order])) + 1
        for mine in np.split(order, edges):
            block = int(blocks[mine[0]])
            yield block, mine, places[mine] - self._firsts[block]

    def _rows_of(self, numbers: NDArray[Any]) -> dict[int, ChunkRow]:
        return self._store._chunk_rows(numbers)

    def _values(self, chunk: ChunkRow, part: int) -> Array:
        shape = (chunk.rows, self._cut.widths[part])
        payload = self._store._payload(chunk)
        dtype = self._cut.kept.parts[part].dtype
        return decode(chunk.kind, payload, shape, dtype, self._cut.channels(part))


class _Touched:
    """How much a read decoded."""

    def __init__(self) -> None:
        self.chunks, self.nbytes = 0, 0

    def add(self, chunk: ChunkRow) -> None:
        self.chunks += 1
        self.nbytes += chunk.raw


def _as_one_block(table: list[list[ChunkRow]], rows: int) -> Bounds:
    """Return bounds of all rows together: those of a block are not next to each other."""
    columns = list(zip(*table, strict=True))

    def field(name: str, least: bool = False) -> NDArray[Any]:
        most = np.fmin.reduce if least else np.fmax.reduce
        return np.array([[most([getattr(c, name) for c in one]) for one in columns]], np.float64)

    def total(name: str) -> NDArray[Any]:
        return np.array([[sum(getattr(c, name) for c in one) for one in columns]], np.int64)

    return Bounds(
        np.zeros(1, np.int64), np.array([rows]), field("low", True), field("high"),
        total("zeros"), total("nans"), field("error"),
    )  # fmt: skip


def _is_whole(local: Any, chunk: ChunkRow) -> bool:
    return isinstance(local, slice) and local.start == 0 and local.stop == chunk.rows


def _integers(values: Any) -> NDArray[np.int64]:
    array = np.atleast_1d(np.asarray(values))
    if array.ndim != 1 or (array.dtype.kind not in "iu" and array.size):
        raise InvalidError(f"rows and units are integers, not {array.dtype} {array.shape}")
    return array.astype(np.int64)
