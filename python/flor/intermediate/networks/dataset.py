"""The rows that a network is asked about: read again whenever needed, always in the same batches.

The last bits of a network's values depend on the batch that a row is in, so the cut into batches is
part of the data. A row's id is its position: of a DataLoader, its index in the dataset, whatever
order the loader shuffles it to.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import CaptureError, ChangedError, InvalidError, RowNotFoundError
from flor.intermediate.networks import fingerprint
from flor.intermediate.networks.arrays import array_of, is_tensor, leaves, mapped

Rows = NDArray[np.int64]

BATCH_ROWS = 64
_KINDS = "a tensor or array, a tuple or dict of them, a DataLoader, a Dataset, or a list of batches"


class Batches:
    """A dataset in batches. ``row_ids`` are ascending; batch i has those of ``rows(i)``.

    Reading checks each batch against its digest. Not thread-safe.
    """

    def __init__(self, row_ids: Rows, starts: Sequence[int]) -> None:
        self.row_ids = row_ids
        self._starts = np.asarray([*starts, len(row_ids)], np.int64)
        self.digests: list[bytes] = []
        self.fingerprint = ""

    def __len__(self) -> int:
        return len(self._starts) - 1

    @property
    def starts(self) -> list[int]:
        """Where each batch begins, as positions."""
        return [int(start) for start in self._starts[:-1]]

    def rows(self, number: int) -> Rows:
        """Return the row ids of a batch."""
        return self.row_ids[self._starts[number] : self._starts[number + 1]]

    def positions(self, rows: Rows) -> Rows:
        """Return where these ids stand; raises RowNotFoundError."""
        wanted = np.asarray(rows, np.int64)
        found = np.searchsorted(self.row_ids, wanted)
        inside = np.minimum(found, len(self.row_ids) - 1)
        missing = wanted[self.row_ids[inside] != wanted]
        if missing.size:
            raise RowNotFoundError(
                f"the data has no row {missing[0]}: its {len(self.row_ids)} row ids run from "
                f"{self.row_ids[0]} to {self.row_ids[-1]}"
            )
        return inside

    def with_rows(self, rows: Rows | None) -> list[int]:
        """Return the numbers of the batches that hold these rows, None: of all, in order."""
        if rows is None:
            return list(range(len(self)))
        at = np.searchsorted(self._starts, self.positions(rows), side="right") - 1
        return [int(number) for number in np.unique(at)]

    def together(self, rows: Rows | None) -> Rows | None:
        """Return the ids of all rows of the batches that hold these."""
        if rows is None:
            return None
        return np.concatenate([self.row_ids[:0], *map(self.rows, self.with_rows(rows))])

    def take(self, numbers: Sequence[int]) -> Iterator[tuple[int, Any]]:
        """Yield (number, batch) for these batches, in order; raises ChangedError."""
        for number, batch in zip(numbers, self._load(numbers), strict=True):
            if _digest(batch) != self.digests[number]:
                ids = self.rows(number)
                raise ChangedError(
                    f"rows {ids[0]} to {ids[-1]} of the data are not what they were when their "
                    "intermediates were asked for: something changed them, or reading draws random "
                    "numbers (augmentation). Ask again with data that stays, or with a plain copy"
                )
            yield number, batch

    def read(self) -> None:
        """Read everything once, for the fingerprints."""
        numbers = list(range(len(self)))
        for number, batch in zip(numbers, self._load(numbers), strict=True):
            if (found := rows_of(batch)) != (due := len(self.rows(number))):
                raise CaptureError(
                    f"batch {number} of the data has {found} rows, not {due}: a collate_fn that "
                    "drops or joins rows leaves no row ids. Give batches of whole rows"
                )
            self.digests.append(_digest(batch))
        self.fingerprint = fingerprint.of(self.row_ids, self._starts, self.digests)

    def _load(self, numbers: Sequence[int]) -> Iterator[Any]:
        raise NotImplementedError


class _Columns(Batches):
    """Tensors and arrays with a common first axis: one, a tuple or a dict of them."""

    def __init__(self, data: Any, batch: int) -> None:
        count = rows_of(data)
        for path, column in leaves(data):
            if len(column) != count:
                raise CaptureError(
                    f"the data is ragged: {path or 'it'} has {len(column)} rows, another part has "
                    f"{count}. Give columns of one length"
                )
        super().__init__(np.arange(count), range(0, count, batch))
        self._data = data

    def _load(self, numbers: Sequence[int]) -> Iterator[Any]:
        for number in numbers:
            rows = slice(self._starts[number], self._starts[number + 1])
            yield mapped(self._data, functools.partial(_part, rows=rows))


class _Listed(Batches):
    """Batches that somebody made, in their order."""

    def __init__(self, row_ids: Rows, starts: Sequence[int], data: Sequence[Any]) -> None:
        super().__init__(row_ids, starts)
        self._data = data

    @classmethod
    def of(cls, data: Sequence[Any]) -> _Listed:
        """Return batches whose rows have no ids yet."""
        ends = np.cumsum([rows_of(batch) for batch in data], dtype=np.int64)
        return cls(np.arange(ends[-1]), [0, *ends[:-1].tolist()], data)

    def _load(self, numbers: Sequence[int]) -> Iterator[Any]:
        for number in numbers:
            yield mapped(self._data[number], _tensor)


class _Loader(Batches):
    """A map-style dataset as its DataLoader reads it, in the order of the dataset."""

    def __init__(self, loader: Any) -> None:
        ids = _indices(loader)
        size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or BATCH_ROWS
        super().__init__(ids, range(0, len(ids), size))
        self._loader = loader

    def _load(self, numbers: Sequence[int]) -> Iterator[Any]:
        import torch

        like = self._loader
        yield from torch.utils.data.DataLoader(
            like.dataset,
            batch_sampler=[self.rows(number).tolist() for number in numbers],
            num_workers=like.num_workers,
            collate_fn=like.collate_fn,
            timeout=like.timeout,
            worker_init_fn=like.worker_init_fn,
            multiprocessing_context=like.multiprocessing_context,
            prefetch_factor=like.prefetch_factor,
            generator=torch.Generator(),
        )


class _Stream(Batches):
    """A DataLoader that only goes from the first batch to the last."""

    def __init__(self, loader: Any) -> None:
        lengths = [rows_of(batch) for batch in loader]
        if not lengths:
            raise InvalidError("the data has no rows: give at least one")
        ends = np.cumsum(lengths, dtype=np.int64)
        super().__init__(np.arange(ends[-1]), (ends - lengths).tolist())
        self._loader = loader

    def _load(self, numbers: Sequence[int]) -> Iterator[Any]:
        wanted = set(numbers)
        last = max(wanted, default=-1)
        found = 0
        for number, batch in enumerate(self._loader):
            if number in wanted:
                found += 1
                yield batch
            if number >= last:
                break
        if found < len(wanted):
            raise ChangedError(
                f"the data ended before batch {last}, which it had when it was read first: give "
                "data that can be read again"
            )


def batches(data: Any, batch: int | None = None) -> Batches:
    """Return data in batches, read once for its fingerprint.

    ``batch``: rows a batch, where the data has none of its own. Raises InvalidError, CaptureError.
    """
    if batch is not None and batch < 1:
        raise InvalidError(f"batch={batch}: a batch has at least one row")
    found = _batches(data, batch or BATCH_ROWS)
    if not len(found.row_ids):
        raise InvalidError("the data has no rows: give at least one")
    if not found.fingerprint:
        found.read()
    return found


def given_batches(row_ids: Rows, starts: Sequence[int], data: Sequence[Any]) -> Batches:
    """Return batches that were cut elsewhere, with the ids of their rows."""
    return _Listed(row_ids, starts, data)


def _batches(data: Any, batch: int) -> Batches:
    import torch

    if isinstance(data, Batches):
        return data
    if isinstance(data, torch.utils.data.DataLoader):
        streamed = isinstance(data.dataset, torch.utils.data.IterableDataset)
        return _Stream(data) if streamed or data.batch_sampler is None else _Loader(data)
    if isinstance(data, torch.utils.data.Dataset):
        return _batches(torch.utils.data.DataLoader(data, batch), batch)
    if isinstance(data, list):
        if not data:
            raise InvalidError("the data has no rows: give at least one")
        return _Listed.of(data)
    if is_tensor(data) or isinstance(data, np.ndarray | tuple | Mapping):
        return _Columns(data, batch)
    once = isinstance(data, Iterable)
    raise InvalidError(
        f"data is a {type(data).__name__}; it must be {_KINDS}"
        + (": list(data) makes batches that can be read again" if once else "")
    )


def _indices(loader: Any) -> Rows:
    """Return the dataset's indices that a loader visits, each once, ascending."""
    from torch.utils.data import RandomSampler, SequentialSampler

    sampler = loader.sampler
    count = len(loader.dataset)
    known = type(sampler) is SequentialSampler or (
        type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples >= count
    )
    if known and type(loader.batch_sampler).__module__.startswith("torch."):
        return np.arange(count)
    found = [index for indices in loader.batch_sampler for index in indices]
    if not all(isinstance(index, int | np.integer) for index in found):
        raise InvalidError(
            "the loader's sampler gives keys that are no numbers, and a row id is a number: give "
            "the batches themselves, list(loader)"
        )
    ids = np.unique(np.asarray(found, np.int64))
    if len(ids) < len(found):
        warnings.warn("the loader's sampler repeats rows: each is taken once", stacklevel=2)
    return ids


def rows_of(batch: Any) -> int:
    """Return how many rows a batch has, the length of its tensors; raises CaptureError."""
    for _, leaf in leaves(batch):
        if (is_tensor(leaf) or isinstance(leaf, np.ndarray)) and leaf.ndim:
            return int(leaf.shape[0])
    raise CaptureError(
        f"a batch of type {type(batch).__name__} holds no tensor or array, so it has no rows: give "
        f"{_KINDS}"
    )


def _tensor(value: Any) -> Any:
    import torch

    if not isinstance(value, np.ndarray) or value.dtype.kind not in "biufc":
        return value
    dense = np.ascontiguousarray(value)
    return torch.from_numpy(dense if dense.flags.writeable else dense.copy())


def _part(column: Any, rows: slice) -> Any:
    return _tensor(column[rows])


def _digest(batch: Any) -> bytes:
    parts = []
    for path, leaf in leaves(batch):
        array = array_of(leaf) if is_tensor(leaf) else leaf
        parts.append(
            (path, fingerprint.of_bytes(array) if isinstance(array, np.ndarray) else array)
        )
    return bytes.fromhex(fingerprint.of(parts))
