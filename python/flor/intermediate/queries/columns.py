"""Columns: where two models differ in one, and how its values are distributed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.planning.access import Access, take_rows
from flor.intermediate.planning.plan import Accuracy
from flor.intermediate.queries.query import Job, Query, column, job
from flor.intermediate.result import Result


@dataclass(frozen=True)
class ColDiff(Query):
    """The same unit of two models, epochs or layers, row by row. ``k``: the largest alone."""

    other: Any
    layer: str
    unit: Any = None
    other_layer: str | None = None
    k: int | None = None
    rows: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """A plan for each model."""
        mine = job(access, self.layer, self.unit, self.rows, self.accuracy)
        layer = self.other_layer or self.layer
        theirs = job(self.other.access, layer, self.unit, self.rows, self.accuracy)
        return [mine, theirs]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return this − other for the rows that both have; for no numbers, whether they differ."""
        mine, theirs = jobs
        ids, first = mine.fetch(self.layer)
        other_ids, second = theirs.fetch(self.other_layer or self.layer)
        common = ids[np.isin(ids, other_ids)]
        one = column(take_rows(ids, first, common)[1], "col_diff")
        two = column(take_rows(other_ids, second, common)[1], "col_diff")
        if one.shape != two.shape:
            raise InvalidError(f"the rows have shapes {one.shape[1:]} and {two.shape[1:]}")
        difference = _minus(one, two)
        size = np.abs(difference.astype(np.float64)).reshape(len(common), -1)
        largest = size.max(axis=1, initial=0.0)
        facts = {
            "rows that differ": int(np.count_nonzero(largest)),
            "mean size": float(size.mean()) if size.size else 0.0,
        }
        if self.k is not None:
            order = np.lexsort((common, -largest))[: self.k]
            common, difference = common[order], difference[order]
        error = mine.plan.error + theirs.plan.error
        return Result(common, difference, error, f"col_diff of {self.layer}", facts=facts)


def _minus(one: NDArray[Any], two: NDArray[Any]) -> NDArray[Any]:
    if one.dtype.kind in "fiu" and two.dtype.kind in "fiu":
        with np.errstate(invalid="ignore"):
            difference: NDArray[Any] = one.astype(np.float64) - two.astype(np.float64)
        difference[(one == two) | ((one != one) & (two != two))] = 0.0  # equal infinities, NaNs
        return difference
    return np.asarray(one != two)


@dataclass(frozen=True)
class ColDist(Query):
    """The distribution of a unit's values: a histogram, or counts of what is no number."""

    layer: str
    unit: Any = None
    bins: int = 50
    rows: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """One plan."""
        return [job(access, self.layer, self.unit, self.rows, self.accuracy)]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return counts; facts: mean, std, quartiles, zeros, NaNs. Cells of maps count singly."""
        (one,) = jobs
        ids, values = one.fetch(self.layer)
        flat = column(values, "col_dist").reshape(-1)
        error = 0.0 if one.plan.error == 0 else float("nan")
        title = f"distribution of {self.layer}"
        if flat.dtype.kind not in "fiub":
            labels, counts = np.unique(flat.astype(str), return_counts=True)
            return Result(ids, counts, error, title, index=("value", labels), picture="bars")
        flat = flat.astype(np.float64)
        finite = flat[np.isfinite(flat)]
        counts, edges = np.histogram(finite, bins=self.bins)
        return Result(
            ids, counts, error, title, index=("from", edges[:-1]),
            facts={**_summary(finite), "zeros": int((flat == 0).sum()),
                   "nans": int(np.isnan(flat).sum()), "edges": edges}, picture="bars",
        )  # fmt: skip


def _summary(values: NDArray[Any]) -> dict[str, float]:
    if values.size == 0:
        return {}
    low, first, middle, third, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return {
        "mean": float(values.mean()), "std": float(values.std()), "min": low,
        "quartile 1": first, "median": middle, "quartile 3": third, "max": high,
    }  # fmt: skip
