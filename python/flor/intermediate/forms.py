"""Which intermediate, and what shape: the words that all of this package shares."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Scalar units of a layer are kept in groups: a chunk of one float would cost more than it holds.
UNITS_A_PART = 64


@dataclass(frozen=True)
class Key:
    """Names an intermediate by content: equal keys are equal values.

    ``model``: fingerprint of what computes: structure and weights, or the code of a stage, what it
    was fitted to, and what it comes from. ``layer``: a layer or stage of it. ``data``: fingerprint
    of the rows. ``what``: ``output``, ``input``, ``gradient``, ``attention``.
    """

    model: str
    layer: str
    data: str
    what: str = "output"


@dataclass(frozen=True)
class Part:
    """A vertical slice of an intermediate that is kept by itself: a column, a channel, some units.

    ``dtype``: NumPy's name of it. ``shape``: of one row of the part; () for a column.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] = ()

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, decoded."""
        return int(np.dtype(self.dtype).itemsize) * math.prod(self.shape)


@dataclass(frozen=True)
class Form:
    """The parts of a row. ``unit_shape``: of a row of a tensor, (C, H, W) or (U,); else None."""

    parts: tuple[Part, ...]
    unit_shape: tuple[int, ...] | None = None

    @classmethod
    def table(cls, columns: Mapping[str, str]) -> Form:
        """Return the form of named columns with their dtypes."""
        return cls(tuple(Part(name, dtype) for name, dtype in columns.items()))

    @classmethod
    def tensor(cls, unit_shape: tuple[int, ...], dtype: str) -> Form:
        """Return the form of a layer's output: a part a channel, or one for some scalar units."""
        if len(unit_shape) > 1:
            inner = unit_shape[1:]
            return cls(
                tuple(Part(str(at), dtype, inner) for at in range(unit_shape[0])), unit_shape
            )
        count = math.prod(unit_shape)
        starts = range(0, count, UNITS_A_PART)
        ends = [min(start + UNITS_A_PART, count) for start in starts]
        parts = (Part(f"{a}:{b}", dtype, (b - a,)) for a, b in zip(starts, ends, strict=True))
        return cls(tuple(parts), unit_shape)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, decoded."""
        return sum(part.row_bytes for part in self.parts)

    @property
    def units(self) -> int:
        """How many units, or columns, a row has."""
        return len(self.parts) if self.unit_shape is None else math.prod(self.unit_shape)
