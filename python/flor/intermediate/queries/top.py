"""The rows that excite a unit most, and those that excite it more than some value.

Exact from inexact copies too: rows that a copy leaves undecided are read or computed exactly.
"""

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
from flor.intermediate.queries.query import Job, Query, matrix
from flor.intermediate.result import Result

Array = NDArray[Any]
Reduce = Literal["max", "mean"]
ROUNDING = 1e-12  # of sums in float64


@dataclass(frozen=True)
class TopK(Query):
    """``unit``: a channel of maps counts by its largest cell, or by its mean (``reduce``)."""

    layer: str
    unit: Any
    k: int = 10
    largest: bool = True
    reduce: Reduce = "max"
    rows: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """One plan: exact values of all rows, or a copy with bounds and a few exact values."""
        checked_k(self.k)
        checked_reduce(self.reduce)
        return [
            bounded_job(access, self.layer, self.unit, self.rows, self.accuracy, 2 * self.k, "topk")
        ]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return k values, best first; equal ones in the order of row ids; no NaN."""
        (job,) = jobs
        sign = -1.0 if self.largest else 1.0
        if job.plan.steps[0].way == "bounds":
            ids, scores, recomputed = self._by_bounds(job, sign)
        else:
            ids, scores = least(job, self.layer, lambda v: sign * reduced(v, self.reduce), self.k)
            recomputed = None
        facts = {} if recomputed is None else {"undecided rows": recomputed}
        return Result(
            ids, sign * scores, job.plan.error, f"top {self.k} of {self.layer}",
            facts=facts, picture="bars",
        )  # fmt: skip

    def _by_bounds(self, job: Job, sign: float) -> tuple[Array, Array, int]:
        with job.access.measured(job.plan.steps[0]):
            scores = self._contenders(opened(job), sign)
        exact = decide(
            job, scores, lambda values: sign * reduced(matrix(values, "topk"), self.reduce)
        )
        ids, found = first(*exact, self.k)
        return ids, found, len(scores.ids)

    def _contenders(self, copy: Copy, sign: float) -> Scores:
        floor, ceiling = limits(copy, self.reduce)

        def load(blocks: Array) -> Scores:
            ids, block, flat = copy.load(blocks)
            at, off = reduced(flat, self.reduce), errors(copy, self.reduce)[block]
            off = off + rounding(at, ROUNDING)
            lowest = np.fmax(at - off, floor[block])
            highest = np.fmin(at + off, ceiling[block])
            lowest[np.isnan(at)] = highest[np.isnan(at)] = np.nan
            return Scores(ids, lowest, highest) if sign > 0 else Scores(ids, -highest, -lowest)

        return contenders(floor if sign > 0 else -ceiling, load, self.k, copy.most_blocks)


@dataclass(frozen=True)
class Above(Query):
    """The rows whose unit exceeds ``value``. Which rows is exact; values as ``error`` says."""

    layer: str
    unit: Any
    value: float
    reduce: Reduce = "max"
    rows: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """One plan, as for the top k."""
        checked_reduce(self.reduce)
        return [bounded_job(access, self.layer, self.unit, self.rows, self.accuracy, 20, "above")]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return the values of the rows above, in the order of row ids."""
        (job,) = jobs
        facts: dict[str, Any] = {}
        if job.plan.steps[0].way == "bounds":
            ids, values, error, facts["undecided rows"] = self._by_bounds(job)
        else:
            ids, values = every(job, self.layer, lambda v: reduced(v, self.reduce))
            error = job.plan.error
        above = values > self.value
        order = np.argsort(ids[above], kind="stable")
        return Result(
            ids[above][order], values[above][order], error,
            f"rows of {self.layer} above {self.value}", facts=facts,
        )  # fmt: skip

    def _by_bounds(self, job: Job) -> tuple[Array, Array, float, int]:
        with job.access.measured(job.plan.steps[0]):
            copy = opened(job)
            _, high = limits(copy, self.reduce)
            blocks = np.flatnonzero(high > self.value)
            ids, block, flat = copy.load(blocks)
            at = reduced(flat, self.reduce)
            off = errors(copy, self.reduce)[block] + rounding(at, ROUNDING)
            low, high = at - off, at + off
            unsure = (low <= self.value) & (high > self.value)
        scores = Scores(ids[unsure], low[unsure], high[unsure])
        exact = decide(job, scores, lambda values: reduced(matrix(values, "above"), self.reduce))
        ids = np.concatenate([ids[~unsure], exact[0]])
        values = np.concatenate([at[~unsure], exact[1]])
        error = float(job.plan.steps[0].kept.error)  # type: ignore[union-attr]
        return ids, values, error, len(scores.ids)


def opened(job: Job) -> Copy:
    """Return the inexact copy that a plan by bounds begins with."""
    step = job.plan.steps[0]
    assert step.kept is not None
    return Copy(step.kept, step.selection, step.rows)


def limits(copy: Copy, reduce: Reduce) -> tuple[Array, Array]:
    """Return (least, largest) of the reduced value of a row of each block."""
    low, high = copy.bounds.low, copy.bounds.high
    if reduce == "max":
        return np.fmax.reduce(low, axis=1), np.fmax.reduce(high, axis=1)
    weights = copy.counts / copy.counts.sum()
    low, high = low @ weights, high @ weights
    return low - rounding(low, ROUNDING), high + rounding(high, ROUNDING)


def errors(copy: Copy, reduce: Reduce) -> Array:
    """Return by how much the reduced value of a row of each block may be off."""
    if reduce == "max":
        return np.asarray(copy.error.max(axis=1))
    return np.asarray(copy.error @ (copy.counts / copy.counts.sum()))


def reduced(values: Array, reduce: Reduce) -> Array:
    """Return one number a row, in float64."""
    flat = matrix(values, "topk")
    if flat.shape[1] == 1:
        return flat[:, 0]
    return np.asarray(flat.max(axis=1) if reduce == "max" else flat.mean(axis=1))


def least(job: Job, layer: str, score: Any, k: int) -> tuple[Array, Array]:
    """Return the k least scores of a plan that gives all rows, in pieces of them."""
    ids, scores = np.empty(0, np.int64), np.empty(0)
    for piece in job.access.stream(job.plan):
        some, values = piece[layer]
        ids, scores = first(np.concatenate([ids, some]), np.concatenate([scores, score(values)]), k)
    return ids, scores


def every(job: Job, layer: str, score: Any) -> tuple[Array, Array]:
    """Return the scores of all rows, in pieces of them."""
    pieces = [(piece[layer][0], score(piece[layer][1])) for piece in job.access.stream(job.plan)]
    return np.concatenate([one[0] for one in pieces]), np.concatenate([one[1] for one in pieces])


def first(ids: Array, scores: Array, k: int) -> tuple[Array, Array]:
    """Return the k least; NaN left out, equal ones in the order of row ids."""
    there = ~np.isnan(scores)
    ids, scores = ids[there], scores[there]
    order = np.lexsort((ids, scores))[:k]
    return ids[order], scores[order]


def checked_k(k: Any) -> None:
    """Raise InvalidError for what is no number of rows."""
    if not isinstance(k, int | np.integer) or k < 1:
        raise InvalidError(f"k is how many rows, 1 or more, not {k!r}")


def checked_reduce(reduce: str) -> None:
    """Raise InvalidError for an unknown way to make one number of a map."""
    if reduce not in ("max", "mean"):
        raise InvalidError(f"reduce is 'max' or 'mean', not {reduce!r}")
