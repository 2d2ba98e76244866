"""Values as they are: of some rows and units, of one, the difference of two rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import RowNotFoundError
from flor.intermediate.planning.access import Access
from flor.intermediate.planning.plan import Accuracy
from flor.intermediate.queries.query import Job, Query, job, matrix, shaped
from flor.intermediate.result import Result


@dataclass(frozen=True)
class Read(Query):
    """Values of a layer."""

    layer: str
    rows: Any = None
    units: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """One plan."""
        return [job(access, self.layer, self.units, self.rows, self.accuracy)]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return (rows, units), shaped as the layer's rows are."""
        (one,) = jobs
        ids, values = one.fetch(self.layer)
        selection = one.plan.wants[0].selection
        values = shaped(values, selection.single)
        return Result(
            ids, values, one.plan.error, f"read {self.layer}", names=lambda: selection.names
        )


@dataclass(frozen=True)
class Point(Query):
    """One unit of one row."""

    layer: str
    row: int
    unit: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """One plan."""
        return [job(access, self.layer, self.unit, [self.row], self.accuracy)]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return the value; ``.item()`` where it is one."""
        (one,) = jobs
        ids, values = one.fetch(self.layer)
        _reached(ids, self.row, self.layer)
        single = one.plan.wants[0].selection.single
        return Result(ids, shaped(values, single), one.plan.error, f"point of {self.layer}")


@dataclass(frozen=True)
class RowDiff(Query):
    """Two rows through all units of a layer."""

    layer: str
    row: int
    other: int
    units: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """One plan for both rows."""
        rows = [self.row, self.other]
        return [job(access, self.layer, self.units, rows, self.accuracy)]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return row − other, a value a unit; for columns that are no numbers 1 if they differ."""
        (one,) = jobs
        ids, values = one.fetch(self.layer)
        first, second = (_reached(ids, row, self.layer) for row in (self.row, self.other))
        if isinstance(values, dict):
            values = {name: _comparable(np.asarray(it)) for name, it in values.items()}
        table = matrix(values, "row_diff")
        difference = table[first] - table[second]
        names = one.plan.wants[0].selection.names
        facts: dict[str, Any] = {
            "rows": f"{self.row} − {self.other}",
            "units that differ": int(np.count_nonzero(difference)),
        }
        if np.isfinite(difference).any():
            facts["largest"] = names[int(np.nanargmax(np.abs(difference)))]
        return Result(
            np.asarray([self.row, self.other]), difference, 2 * one.plan.error,
            f"row_diff of {self.layer}", index=("unit", names), facts=facts, picture="bars",
        )  # fmt: skip


def _reached(ids: NDArray[Any], row: int, layer: str) -> int:
    """Return where a row stands; a stage may have filtered it."""
    at = np.flatnonzero(ids == row)
    if len(at) == 0:
        raise RowNotFoundError(f"row {row} of the data does not reach {layer!r}")
    return int(at[0])


def _comparable(values: NDArray[Any]) -> NDArray[Any]:
    """Return numbers for what is none: which of the two distinct values it is."""
    if values.dtype.kind in "fiub":
        return values
    return np.unique(values.astype(str), return_inverse=True)[1]
