"""Which rows: ids as users name them, checked against those that the data has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError, RowNotFoundError


class RowIndex:
    """The row ids of the data. Immutable, so thread-safe."""

    def __init__(self, ids: NDArray[Any]) -> None:
        self.ids = np.asarray(ids, np.int64)
        steps = np.diff(self.ids)
        self._dense = bool((steps == 1).all())
        self._sorted = self.ids if self._dense else np.sort(self.ids)

    def of(self, rows: Any) -> NDArray[Any] | None:
        """Return int64 ids for an id, several ids, a slice of positions or a mask; None: all.

        Raises RowNotFoundError for ids that the data does not have, InvalidError for what is none.
        """
        if rows is None:
            return None
        if isinstance(rows, slice):
            return np.asarray(self.ids[rows])
        asked = np.atleast_1d(np.asarray(rows))
        if asked.dtype == np.bool_ and asked.shape == self.ids.shape:
            return np.asarray(self.ids[asked])
        if asked.size == 0:
            return np.empty(0, np.int64)
        if asked.dtype.kind not in "iu" or asked.ndim != 1:
            raise InvalidError(
                "rows are row ids, a slice of positions, or a mask as long as the data, "
                f"not {type(rows).__name__} of {asked.dtype}"
            )
        asked = asked.astype(np.int64)
        missing = asked[~self._has(asked)]
        if len(missing):
            raise RowNotFoundError(
                f"the data has no row {missing[0]}"
                + (f", nor {len(missing) - 1} others asked" if len(missing) > 1 else "")
                + self._range()
            )
        return asked

    def aligned(self, values: Any, what: str) -> NDArray[Any]:
        """Return values, an item a row in the order of the data, or by row id in a mapping.

        Raises InvalidError where rows are missing or there are too many.
        """
        if isinstance(values, dict):
            missing = [row for row in self.ids.tolist() if row not in values]
            if missing:
                raise InvalidError(f"{what} says nothing of row {missing[0]}")
            return np.asarray([values[row] for row in self.ids.tolist()])
        array = np.asarray(values)
        if len(array) != len(self.ids):
            raise InvalidError(
                f"{what} has {len(array)} items, the data has {len(self.ids)} rows; give one a "
                "row in the order of the data, or a dict by row id"
            )
        return array

    def positions(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return where these ids stand in the data."""
        if self._dense:
            return np.asarray(rows - self.ids[0])
        order = np.argsort(self.ids, kind="stable")
        return np.asarray(order[np.searchsorted(self.ids, rows, sorter=order)])

    def _has(self, asked: NDArray[Any]) -> NDArray[Any]:
        if len(self.ids) == 0:
            return np.zeros(len(asked), np.bool_)
        if self._dense:
            return np.asarray((asked >= self.ids[0]) & (asked <= self.ids[-1]))
        at = np.minimum(np.searchsorted(self._sorted, asked), len(self._sorted) - 1)
        return np.asarray(self._sorted[at] == asked)

    def _range(self) -> str:
        if len(self.ids) == 0:
            return "; it has no rows"
        return f"; its {len(self.ids)} rows have ids {self._sorted[0]} to {self._sorted[-1]}"
