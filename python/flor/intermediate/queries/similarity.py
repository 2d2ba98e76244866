"""How alike two layers are, of one model or two, whatever the order and scale of their units.

SVCCA: M. Raghu et al., "SVCCA: Singular Vector Canonical Correlation Analysis" (NIPS 2017): each
side's directions of most variance, then the canonical correlations between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.planning.access import Access, take_rows
from flor.intermediate.planning.plan import Accuracy
from flor.intermediate.queries.query import Job, Query, job, matrix
from flor.intermediate.result import Result

_PIECE = 8192


@dataclass(frozen=True)
class Svcca(Query):
    """``other``: a handle (None: the same model); ``variance``: the part that each side keeps."""

    layer: str
    other: Any = None
    other_layer: str | None = None
    variance: float = 0.99
    rows: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """A plan for each side; one for two layers of a model, which may share ancestors."""
        if not 0 < self.variance <= 1:
            raise InvalidError(f"variance is a part of 1, not {self.variance}")
        if self.other is None and self.other_layer is None:
            raise InvalidError("svcca compares two: give other= (a handle) or other_layer=")
        layer = self.other_layer or self.layer
        if self.other is None and layer != self.layer:
            wants = [access.planner.want(name, None, self.accuracy) for name in (self.layer, layer)]
            return [Job(access, access.planner.plan(wants, access.rows.of(self.rows)))]
        theirs = access if self.other is None else self.other.access
        return [
            job(access, self.layer, None, self.rows, self.accuracy),
            job(theirs, layer, None, self.rows, self.accuracy),
        ]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return the mean canonical correlation; facts: all of them, and how many directions.

        Maps of equal size are compared cell by cell; of unequal size, by their means.
        """
        layer = self.other_layer or self.layer
        found = [one.access.fetch(one.plan) for one in jobs]
        mine, theirs = found[0][self.layer], found[-1][layer]
        common = mine[0][np.isin(mine[0], theirs[0])]
        left, right = take_rows(*mine, common)[1], take_rows(*theirs, common)[1]
        rho, sizes = svcca(*_as_points(left, right), self.variance)
        exact = all(one.plan.error == 0 for one in jobs)
        title = f"svcca of {self.layer} and {layer}"
        value = float(rho.mean()) if rho.size else float("nan")
        return Result(
            common, np.asarray([value]), 0.0 if exact else float("nan"), title,
            index=("pair", [title]),
            facts={"correlations": rho, "directions": f"{sizes[0]} and {sizes[1]}"},
        )  # fmt: skip


def svcca(
    left: NDArray[Any], right: NDArray[Any], variance: float
) -> tuple[NDArray[Any], tuple[int, int]]:
    """Return the canonical correlations of (points, units) matrices, and the directions kept.

    From covariances in float64, in pieces: it needs units² beside its arguments.
    """
    means = left.mean(axis=0, dtype=np.float64), right.mean(axis=0, dtype=np.float64)
    p, q = left.shape[1], right.shape[1]
    xx, xy, yy = np.zeros((p, p)), np.zeros((p, q)), np.zeros((q, q))
    for start in range(0, len(left), _PIECE):
        x = left[start : start + _PIECE].astype(np.float64) - means[0]
        y = right[start : start + _PIECE].astype(np.float64) - means[1]
        xx, xy, yy = xx + x.T @ x, xy + x.T @ y, yy + y.T @ y
    one, two = _whitening(xx, variance), _whitening(yy, variance)
    if one.shape[1] == 0 or two.shape[1] == 0:
        return np.empty(0), (one.shape[1], two.shape[1])
    rho = np.linalg.svd(one.T @ xy @ two, compute_uv=False)
    return np.clip(rho, 0.0, 1.0), (one.shape[1], two.shape[1])


def _whitening(covariance: NDArray[Any], variance: float) -> NDArray[Any]:
    """Return the directions that hold this part of the variance, scaled to unit variance."""
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    sound = values > values[:1].sum() * 1e-12  # what is left is rounding
    values, vectors = values[sound], vectors[:, sound]
    if values.size == 0:
        return np.empty((len(covariance), 0))
    share = np.cumsum(values) / values.sum()
    kept = min(int(np.searchsorted(share, variance - 1e-12)) + 1, len(values))
    directions: NDArray[Any] = vectors[:, :kept] / np.sqrt(values[:kept])
    return directions


def _as_points(left: Any, right: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    if isinstance(left, dict) or isinstance(right, dict):
        return matrix(left, "svcca"), matrix(right, "svcca")
    if left.ndim > 2 and left.shape[2:] == right.shape[2:]:
        return _cells(left), _cells(right)
    return _means(left), _means(right)


def _cells(values: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def _means(values: NDArray[Any]) -> NDArray[Any]:
    means: NDArray[Any] = values.reshape(len(values), values.shape[1], -1).mean(axis=2)
    return means
