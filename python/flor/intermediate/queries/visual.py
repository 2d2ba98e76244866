"""What a layer does for each class of rows: mean activations, drawn as a heat map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flor.intermediate.planning.access import Access
from flor.intermediate.planning.plan import Accuracy
from flor.intermediate.queries.query import Job, Query, job, matrix
from flor.intermediate.result import Result


@dataclass(frozen=True)
class Vis(Query):
    """Means by class. ``by``: a label a row, in the order of the data, or a dict by row id."""

    layer: str
    by: Any
    units: Any = None
    rows: Any = None
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """One plan; the labels are checked before anything is read."""
        access.rows.aligned(self.by, "by=")
        return [job(access, self.layer, self.units, self.rows, self.accuracy)]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return (classes, units) in float64, in pieces of rows."""
        (one,) = jobs
        index = one.access.rows
        classes, numbers = np.unique(index.aligned(self.by, "by="), return_inverse=True)
        selection = one.plan.wants[0].selection
        sums = np.zeros((len(classes), len(selection.names)))
        counts = np.zeros(len(classes))
        seen = []
        for piece in one.access.stream(one.plan):
            ids, values = piece[self.layer]
            of = numbers[index.positions(ids)]
            table = matrix(values, "vis")
            for number in np.unique(of):
                sums[number] += table[of == number].sum(axis=0)
            counts += np.bincount(of, minlength=len(classes))
            seen.append(ids)
        used = counts > 0
        means = sums[used] / counts[used, None]
        shape = means.shape[1:] if selection.form.unit_shape is None else selection.shape
        return Result(
            np.concatenate(seen), means.reshape(-1, *shape), one.plan.error,
            f"mean of {self.layer} by class", names=lambda: selection.names,
            index=("class", classes[used]), picture="heat",
        )  # fmt: skip
