"""The rows nearest to a row in a layer's space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.planning.access import Access
from flor.intermediate.planning.bounds import Copy, Scores, contenders, rounding
from flor.intermediate.planning.plan import Accuracy
from flor.intermediate.queries.exactly import bounded_job, decide
from flor.intermediate.queries.query import Job, Query, job, matrix
from flor.intermediate.queries.top import checked_k, first, least, opened
from flor.intermediate.result import Result

Array = NDArray[Any]
Metric = Literal["l2", "l1", "cosine"]


@dataclass(frozen=True)
class Knn(Query):
    """``metric``: ``l2``, ``l1``, ``cosine`` (one minus the cosine). The row itself is left out."""

    layer: str
    row: int
    k: int = 10
    metric: Metric = "l2"
    units: Any = None
    rows: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """Two plans: the row itself, and the others, exactly or by bounds."""
        checked_k(self.k)
        if self.metric not in ("l2", "l1", "cosine"):
            raise InvalidError(f"metric is 'l2', 'l1' or 'cosine', not {self.metric!r}")
        return [
            job(access, self.layer, self.units, [self.row], self.accuracy),
            bounded_job(
                access, self.layer, self.units, self.rows, self.accuracy, 2 * self.k, "knn"
            ),
        ]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return k distances, nearest first; equal ones in the order of row ids."""
        one, others = jobs
        found = matrix(one.fetch(self.layer)[1], "knn")
        if len(found) == 0:
            raise InvalidError(f"row {self.row} of the data does not reach {self.layer!r}")
        facts: dict[str, Any] = {"row": int(self.row)}
        if others.plan.steps[0].way == "bounds":
            ids, far, facts["undecided rows"] = self._by_bounds(others, found[0])
        else:
            ids, far = least(
                others,
                self.layer,
                lambda values: distances(matrix(values, "knn"), found[0], self.metric),
                self.k + 1,
            )
        ids, far = _without(self.row, ids, far, self.k)
        error = 0.0 if others.plan.error == 0 and one.plan.error == 0 else float("nan")
        return Result(
            ids, far, error, f"{self.k} nearest to row {self.row} in {self.layer}",
            facts=facts, picture="bars",
        )  # fmt: skip

    def _by_bounds(self, job: Job, row: Array) -> tuple[Array, Array, int]:
        with job.access.measured(job.plan.steps[0]):
            scores = self._contenders(opened(job), row)
        exact = decide(
            job, scores, lambda values: distances(matrix(values, "knn"), row, self.metric)
        )
        ids, far = first(*exact, self.k + 1)
        return ids, far, len(scores.ids)

    def _contenders(self, copy: Copy, row: Array) -> Scores:
        def load(blocks: Array) -> Scores:
            ids, block, flat = copy.load(blocks)
            return Scores(ids, *_interval(copy, flat, block, row, self.metric))

        nothing_known = np.zeros(len(copy.bounds.rows))
        return contenders(nothing_known, load, self.k + 1, copy.most_blocks)


def distances(table: Array, row: Array, metric: Metric) -> Array:
    """Return the distance of each of (rows, units) to a row; rows are worked on one by one.

    That is, the bits do not depend on which rows are asked together.
    """
    if metric == "l1":
        return np.asarray(np.abs(table - row).sum(axis=1))
    if metric == "l2":
        return np.asarray(np.sqrt(np.square(table - row).sum(axis=1)))
    sizes = np.sqrt(np.square(table).sum(axis=1)) * np.sqrt(np.square(row).sum())
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = (table * row).sum(axis=1) / sizes
    return np.asarray(1 - np.clip(np.where(sizes > 0, cosine, 0.0), -1, 1))


def _interval(
    copy: Copy, flat: Array, block: Array, row: Array, metric: Metric
) -> tuple[Array, Array]:
    """Return between which values the true distance of each row lies (triangle inequality)."""
    far = distances(flat, row, metric)
    slack = 1e-9 + rounding(far, 1e-9)
    if metric == "l1":
        off = (copy.error @ copy.counts)[block] + slack
        return np.maximum(far - off, 0), far + off
    off = np.sqrt(np.square(copy.error) @ copy.counts)[block]
    if metric == "l2":
        return np.maximum(far - off - slack, 0), far + off + slack
    # A vector within `off` of another is turned against it by no more than asin(off / size).
    size = np.sqrt(np.square(flat).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        turn = np.where(off < size, np.arcsin(np.minimum(off / size, 1.0)), np.pi)
    angle = np.arccos(np.clip(1 - far, -1, 1))
    low, high = np.maximum(angle - turn, 0), np.minimum(angle + turn, np.pi)
    low, high = 1 - np.cos(low), 1 - np.cos(high)
    # A row of zeros has distance 1 by definition, and nothing near it is bounded by its angle.
    unknown = off >= size
    return (
        np.where(unknown, 0.0, low - slack),
        np.where(unknown, 2.0, high + slack),
    )


def _without(row: int, ids: Array, far: Array, k: int) -> tuple[Array, Array]:
    others = ids != row
    return ids[others][:k], far[others][:k]
