"""The sets of successive checkpoints that the codec suite measures, as files of NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SPACING, COUNT = 10, 10
ROLES = ("weights", "first_moment", "second_moment")

Array = np.ndarray[Any, Any]


def load(folder: Path, name: str, k: int) -> dict[str, Array]:
    """Return checkpoint k of a set: of each role the floats, as integers of the same width."""
    with np.load(folder / f"{name}-{k}.npz") as data:
        return {role: data[role] for role in ROLES}


def monotone(values: Array) -> Array:
    """Return floats given as signed integers, in an order that is theirs."""
    made: Array = values ^ ((values >> (values.itemsize * 8 - 1)) & np.iinfo(values.dtype).max)
    return made
