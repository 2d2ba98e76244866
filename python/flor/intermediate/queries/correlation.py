"""How units go together: Pearson's correlation, with each other or with a figure of the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.planning.access import Access
from flor.intermediate.planning.plan import Accuracy
from flor.intermediate.queries.query import Job, Query, job, matrix
from flor.intermediate.result import Result

MOST_UNITS = 4096


@dataclass(frozen=True)
class Corr(Query):
    """``target``: a number a row in the order of the data, or by row id; None: each other."""

    layer: str
    units: Any = None
    target: Any = None
    rows: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """One plan."""
        if self.target is not None:
            access.rows.aligned(self.target, "target=")
        made = job(access, self.layer, self.units, self.rows, self.accuracy)
        count = made.plan.wants[0].selection.count
        if self.target is None and count > MOST_UNITS:
            raise InvalidError(
                f"{self.layer!r} has {count} units, whose correlations are {count}²; "
                f"units= chooses up to {MOST_UNITS}, or give target="
            )
        return [made]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return (units, units), or (units,) with the target. NaN where a unit is constant."""
        (one,) = jobs
        ids, values = one.fetch(self.layer)
        table = matrix(values, "corr")
        names = one.plan.wants[0].selection.names
        error = 0.0 if one.plan.error == 0 else float("nan")
        title = f"correlations in {self.layer}"
        if self.target is None:
            found = pearson(table, table)
            return Result(
                ids, found, error, title, names=names, index=("unit", names), picture="heat"
            )
        index = one.access.rows
        known = index.aligned(self.target, "target=")[index.positions(ids)]
        found = pearson(table, known.astype(np.float64)[:, None])[:, 0]
        return Result(ids, found, error, title, index=("unit", names), picture="bars")


def pearson(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Return the correlation of each column of one with each of the other."""
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    sizes = np.outer(np.linalg.norm(left, axis=0), np.linalg.norm(right, axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (left.T @ right) / sizes
    return np.asarray(np.clip(found, -1.0, 1.0))
