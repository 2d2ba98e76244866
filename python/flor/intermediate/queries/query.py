"""What all queries are: arguments, plans, an answer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.planning.access import Access
from flor.intermediate.planning.plan import Accuracy, Plan
from flor.intermediate.result import Result


@dataclass
class Job:
    """A plan, and the model that it is carried out on."""

    access: Access
    plan: Plan

    def fetch(self, layer: str) -> tuple[NDArray[Any], Any]:
        """Carry the plan out; return (row ids, values) of a layer."""
        return self.access.fetch(self.plan)[layer]


class Query(ABC):
    """A question about intermediates."""

    @abstractmethod
    def jobs(self, access: Access) -> list[Job]:
        """Return what is needed, as plans of least cost."""

    @abstractmethod
    def answer(self, jobs: Sequence[Job]) -> Result:
        """Carry the plans out and return the answer."""


def job(
    access: Access,
    layer: str,
    units: Any = None,
    rows: Any = None,
    accuracy: Accuracy = "exact",
) -> Job:
    """Return the job of having some units of one layer."""
    want = access.planner.want(layer, units, accuracy)
    return Job(access, access.planner.plan([want], access.rows.of(rows)))


def column(values: Any, what: str) -> NDArray[Any]:
    """Return the one column of a table's values, or the array of a tensor's."""
    if not isinstance(values, dict):
        return np.asarray(values)
    if len(values) != 1:
        raise InvalidError(f"{what} is about one column; units= names it")
    return np.asarray(next(iter(values.values())))


def matrix(values: Any, what: str) -> NDArray[Any]:
    """Return values as float64 (rows, units); InvalidError for columns that are no numbers."""
    if isinstance(values, dict):
        for name, one in values.items():
            if np.asarray(one).dtype.kind not in "fiub":
                raise InvalidError(
                    f"{what} needs numbers, and column {name!r} is {np.asarray(one).dtype}; "
                    "units= chooses columns"
                )
        columns = [np.asarray(one, np.float64) for one in values.values()]
        return np.stack(columns, axis=1)
    array = np.asarray(values)
    return array.reshape(len(array), -1).astype(np.float64)


def shaped(values: Any, single: bool) -> Any:
    """Return a table's values as users get them: one column, asked by itself, as an array."""
    if isinstance(values, dict) and single:
        return next(iter(values.values()))
    return values
