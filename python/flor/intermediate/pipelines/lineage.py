"""Which row of a stage's output is which row of its input: row ids survive what a stage does.

Ways to map the rows are proposed (in order, by the index of pandas, by a column that is a key, by
the content of whole rows) and verified: a mapping is believed for the columns that it reproduces.
Rows that no way explains, such as those of an aggregation, and rows that come twice are new ones,
and are said to be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.pipelines.logical import many
from flor.intermediate.pipelines.tables import Encoded

Ids = NDArray[np.int64]
Words = NDArray[np.uint64]

NEW = "new rows"
_IN_ORDER = "in order"
_MOST_KEYS = 4
_SOME = 4
_ODD = np.uint64(0x9E3779B97F4A7C15)
_MISSING = np.uint64(0x5BD1E995)
# Where sources have the same ids and are put below each other, those of later ones get this added.
_APART = np.int64(1) << np.int64(40)


@dataclass(frozen=True)
class Traced:
    """Row ids of an output, int64 (rows,), and how they were found."""

    ids: Ids
    how: str


class Rows:
    """A table with its row ids, as far as tracing looks at it."""

    def __init__(self, table: Encoded, ids: Ids | None = None) -> None:
        self.table = table
        self.count = table.rows
        self.ids = np.arange(table.rows, dtype=np.int64) if ids is None else ids
        self._words: dict[str, Words] = {}

    @cached_property
    def names(self) -> list[str]:
        """Columns, without those that are the index."""
        if not isinstance(self.table.values, dict):
            return []
        levels = self.table.schema.get("index", {}).get("levels", [])
        return [name for name in self.table.values if name not in levels]

    def words(self, name: str) -> Words:
        """Return 64 bits a row, equal where the values are, whatever their dtype."""
        if name not in self._words:
            assert isinstance(self.table.values, dict)
            self._words[name] = _words(self.table.values[name], self.told(name))
        return self._words[name]

    def told(self, name: str) -> list[Any] | None:
        """Return what a column is beside its array."""
        found: list[Any] | None = self.table.schema.get("columns", {}).get(name)
        return found

    def dtype(self, name: str) -> Any:
        """Return the dtype of a column's array; None for columns below each other."""
        values = self.table.values
        return values[name].dtype if isinstance(values, dict) and name in values else None

    def bits(self, name: str) -> NDArray[Any]:
        """Return a number a row, equal where the column's bits are."""
        kind = self.dtype(name)
        if kind is None or kind.kind not in "iufmM" or kind.itemsize > 8:
            return self.words(name)
        assert isinstance(self.table.values, dict)
        column = self.table.values[name]
        return column.view(f"u{column.itemsize}")

    @cached_property
    def index(self) -> tuple[str, Ids, bool] | None:
        """(names, labels, whether pandas makes such one by itself), where labels are integers."""
        told = self.table.schema.get("index")
        if told is None:
            return None
        names = repr(told["names"])
        if "range" in told:
            start, stop, step = told["range"]
            return names, np.arange(start, stop, step, dtype=np.int64), (start, step) == (0, 1)
        if len(told["levels"]) != 1 or told["levels"][0] in self.table.schema.get("columns", {}):
            return None
        assert isinstance(self.table.values, dict)
        labels = self.table.values[told["levels"][0]]
        return (names, labels.astype(np.int64), False) if labels.dtype.kind in "iu" else None


def source_ids(table: Encoded, column: str | None = None) -> Ids:
    """Return the ids of rows that no stage made: a column, the index of pandas, or positions.

    Raises InvalidError for a column of ids that is no int64 column of distinct values.
    """
    if column is not None and isinstance(table.values, dict) and column in table.values:
        values = table.values[column]
        told = table.schema.get("columns", {}).get(column)
        if told is not None or values.dtype.kind not in "iu" or not _distinct(values):
            raise InvalidError(
                f"column {column!r} can't be the row ids: they are distinct integers; name another "
                "column, or none"
            )
        return values.astype(np.int64)
    rows = Rows(table)
    if rows.index is not None and _distinct(rows.index[1]):
        return rows.index[1]
    return rows.ids


def trace(inputs: Sequence[Rows], output: Encoded) -> Traced:
    """Return the row ids of a stage's output."""
    out = Rows(output)
    best: tuple[int, Traced] | None = None
    candidates = [*inputs, *_below(inputs)]
    for given in candidates:
        for at, how in _proposals(given, out):
            if not _distinct(at):  # a row that comes twice has no id of its own
                continue
            verified, of = _agreement(given, out, at)
            found = Traced(given.ids if how == _IN_ORDER else given.ids[at], how)
            if of and 2 * verified >= of:
                return found
            if verified > (best[0] if best else 0):
                best = verified, found
    if best is not None:
        return best[1]
    return _unverified(inputs, out) or Traced(out.ids, NEW)


def _unverified(inputs: Sequence[Rows], out: Rows) -> Traced | None:
    """Return the ids where every column changed: as many rows are the same rows, in order."""
    for given in inputs:
        if given.count == out.count and not _reordered(given, out):
            return Traced(given.ids, _IN_ORDER)
    for given in inputs:
        at = _by_index(given, out)
        if at is None or out.index is None or not _distinct(at):
            continue
        if not out.index[2]:
            return Traced(given.ids[at], "by index")
    return None


def _below(inputs: Sequence[Rows]) -> list[Rows]:
    """Return the inputs below each other as one, with the columns that all have."""
    if len(inputs) < 2 or any(not isinstance(one.table.values, dict) for one in inputs):
        return []
    names = [name for name in inputs[0].names if all(name in one.names for one in inputs)]
    if not names:
        return []
    ids = np.concatenate([one.ids for one in inputs])
    if not _distinct(ids):
        ids = np.concatenate([one.ids + at * _APART for at, one in enumerate(inputs)])
    whole = Rows(Encoded(len(ids), inputs[0].table.form, {}, {}), ids)
    whole.names = names
    whole._words = {n: np.concatenate([one.words(n) for one in inputs]) for n in names}
    return [whole]


def _proposals(given: Rows, out: Rows) -> Iterator[tuple[Ids, str]]:
    """Yield (which row of the input each row of the output is, how)."""
    if given.count == out.count:
        yield np.arange(out.count, dtype=np.int64), _IN_ORDER
    at = _by_index(given, out)
    if at is not None:
        yield at, "by index"
    shared = _possible(given, out)
    keys = 0
    for name in shared:
        if keys < _MOST_KEYS and _distinct(given.words(name)):
            keys += 1
            at = _places(given.words(name), out.words(name))
            if at is not None:
                yield at, f"by column {name}"
    at = _by_content(given, out, shared)
    if at is not None:
        yield at, "by content"


def _possible(given: Rows, out: Rows) -> list[str]:
    """Return the shared columns whose output may be from the input: a few values are there."""
    some = np.linspace(0, max(out.count - 1, 0), min(out.count, _SOME), dtype=np.int64)
    return [
        name
        for name in _shared(given, out)
        if all((given.words(name) == word).any() for word in out.words(name)[some])
    ]


def _by_index(given: Rows, out: Rows) -> Ids | None:
    if given.index is None or out.index is None or given.index[0] != out.index[0]:
        return None
    return _places(given.index[1], out.index[1])


def _by_content(given: Rows, out: Rows, shared: list[str]) -> Ids | None:
    import pandas as pd

    kept = [n for n in shared if pd.Index(out.words(n)).isin(given.words(n)).all()]
    if not kept:
        return None
    with np.errstate(over="ignore"):
        mine, theirs = (
            _mixed([rows.words(name) for name in kept], rows.count) for rows in (given, out)
        )
    return _places(mine, theirs)


def _mixed(columns: list[Words], count: int) -> Words:
    out = np.zeros(count, np.uint64)
    for column in columns:
        out = (out ^ column) * _ODD
        out ^= out >> np.uint64(29)
    return out


def _agreement(given: Rows, out: Rows, at: Ids) -> tuple[int, int]:
    """Return how many shared columns the mapping reproduces, and of how many that say something."""
    telling = [name for name in _shared(given, out) if _varies(out.bits(name))]
    in_order = given.count == out.count and bool((np.diff(at) == 1).all())
    agreed = sum(_equal(given, out, name, None if in_order else at) for name in telling)
    return agreed, len(telling)


def _equal(given: Rows, out: Rows, name: str, at: Ids | None) -> bool:
    """Whether a column is the same, rows taken at these places (None: all, in order)."""
    if given.told(name) == out.told(name) and given.dtype(name) == out.dtype(name):
        mine, theirs = given.bits(name), out.bits(name)
    else:
        mine, theirs = given.words(name), out.words(name)
    return bool(np.array_equal(mine if at is None else mine[at], theirs))


def _reordered(given: Rows, out: Rows) -> bool:
    """Whether a column has the same values in another order."""
    telling = [name for name in _shared(given, out) if _varies(out.bits(name))]
    return any(_sum(given.words(name)) == _sum(out.words(name)) for name in telling)


def _shared(given: Rows, out: Rows) -> list[str]:
    theirs = set(given.names)
    return [name for name in out.names if name in theirs]


def _sum(words: Words) -> int:
    """Return what is the same in any order."""
    return int(np.add.reduce(words * _ODD ^ words >> np.uint64(31)))


def _varies(bits: NDArray[Any]) -> bool:
    return bool(len(bits) and (bits != bits[0]).any())


def _distinct(values: Any) -> bool:
    import pandas as pd

    return bool(pd.Index(values).is_unique)


def _places(known: Any, wanted: Any) -> Ids | None:
    """Return where each wanted value is; None where one is not there, or more than once."""
    import pandas as pd

    index = pd.Index(known)
    if not index.is_unique:
        some = index.isin(wanted)
        positions = np.flatnonzero(some)
        index = index[some]
        if not index.is_unique:
            return None
        at = index.get_indexer(pd.Index(wanted))
        return None if (at < 0).any() else positions[at]
    at = index.get_indexer(pd.Index(wanted))
    return None if (at < 0).any() else at.astype(np.int64)


def _words(values: NDArray[Any], told: list[Any] | None) -> Words:
    import pandas as pd

    if told is not None and told[0] in _DICTIONARIES:
        listed = _DICTIONARIES[told[0]](told)
        table = np.empty(len(listed) + 1, np.uint64)
        table[:-1] = pd.util.hash_array(np.array([*map(repr, listed), ""], object))[:-1]
        table[-1] = _MISSING
        return table[np.where(values < 0, len(listed), values)]
    if values.dtype.kind in "mM":
        return values.view(np.uint64)
    if values.dtype.kind in "iu" and len(values) and _wide(values):
        return values.astype(np.uint64)
    if values.dtype.kind in "biuf":
        numbers = values.astype(np.float64) + 0.0  # no negative zero
        numbers[np.isnan(numbers)] = np.nan
        return numbers.view(np.uint64)
    return np.asarray(pd.util.hash_array(values), np.uint64)


def _wide(values: NDArray[Any]) -> bool:
    """Whether float64 can't tell them apart."""
    return bool(values.max() > 1 << 53 or values.min() < -(1 << 53))


_DICTIONARIES: dict[str, Callable[[list[Any]], list[str]]] = {
    "string": lambda told: told[3],
    "objects": lambda told: told[1],
    "category": lambda told: [one if isinstance(one, str) else repr(one) for one in many(told[1])],
    "array": lambda told: [one if isinstance(one, str) else repr(one) for one in many(told[1])],
    "texts": lambda told: told[3],
    "arrow texts": lambda told: told[2],
}
