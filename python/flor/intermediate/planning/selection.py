"""Which units of a layer: one, some, or all, and what they look like in the values."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError, LayerNotFoundError
from flor.intermediate.forms import Form

# Tensors: an index along the first axis (a channel, a unit), a tuple for a cell of a map, a slice,
# several indices. Tables: a column's name, or several.
Units = Any


@dataclass(frozen=True, eq=False)
class Selection:
    """Some units of a form.

    ``index``: into the unit axes of a tensor, () for all of it. ``columns``: of a table.
    ``shape``: of one selected row of a tensor. ``single``: one unit was asked by itself.
    """

    form: Form
    index: tuple[Any, ...] = ()
    columns: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    single: bool = False

    @property
    def whole(self) -> bool:
        """Whether all units are selected."""
        if self.form.unit_shape is None:
            return len(self.columns) == len(self.form.parts)
        return self.index == ()

    @property
    def asked(self) -> NDArray[Any] | list[str] | None:
        """What a kept copy is asked for: flat units of a tensor, columns of a table, None: all."""
        if self.form.unit_shape is None:
            return list(self.columns)
        return None if self.whole else self.flat

    @property
    def slices(self) -> list[int] | None:
        """Return the indices of the first axis of a tensor that are selected whole, if so."""
        if not self.form.unit_shape or len(self.index) != 1:
            return None
        every = np.arange(self.form.unit_shape[0])
        return [int(at) for at in np.atleast_1d(every[self.index])]

    @property
    def flat(self) -> NDArray[Any]:
        """The selected units of a tensor as positions in C order."""
        shape = self.form.unit_shape or ()
        every = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
        return np.ascontiguousarray(every[self.index]).reshape(-1)

    @property
    def count(self) -> int:
        """How many units are selected."""
        return len(self.columns) if self.form.unit_shape is None else math.prod(self.shape)

    def samples(self) -> tuple[NDArray[Any] | list[str], NDArray[Any]]:
        """Return a selected unit of each part that holds some, and how many of them it holds."""
        if self.form.unit_shape is None:
            return list(self.columns), np.ones(len(self.columns), np.int64)
        ends = np.cumsum([math.prod(part.shape) for part in self.form.parts])
        flat = self.flat
        part = np.searchsorted(ends, flat, "right")
        _, at, counts = np.unique(part, return_index=True, return_counts=True)
        return flat[at], counts

    @property
    def row_bytes(self) -> int:
        """Bytes of one selected row, decoded."""
        if self.form.unit_shape is None:
            return sum(p.row_bytes for p in self.form.parts if p.name in self.columns)
        itemsize = np.dtype(self.form.parts[0].dtype).itemsize if self.form.parts else 0
        return math.prod(self.shape) * int(itemsize)

    @property
    def names(self) -> list[str]:
        """A name a selected unit, in order."""
        if self.form.unit_shape is None:
            return list(self.columns)
        shape = self.form.unit_shape
        cells = np.unravel_index(self.flat, shape)
        return [",".join(str(int(at)) for at in cell) for cell in zip(*cells, strict=True)]

    def of(self, values: Any) -> Any:
        """Return the selected units of whole rows."""
        if self.form.unit_shape is None:
            return {name: np.asarray(values[name]) for name in self.columns}
        return np.asarray(values)[(slice(None), *self.index)]

    def shaped(self, flat: NDArray[Any]) -> NDArray[Any]:
        """Return values (n, …) of the selected units in the shape that :meth:`of` gives."""
        return flat.reshape(len(flat), *self.shape)


def select(layer: str, form: Form, units: Units = None) -> Selection:
    """Return the selection of ``units``; LayerNotFoundError names one that is not there."""
    if form.unit_shape is None:
        return _columns(layer, form, units)
    shape = form.unit_shape
    if units is None:
        return Selection(form, (), shape=shape)
    single = isinstance(units, int | np.integer | tuple)
    index = units if isinstance(units, tuple) else (_axis(layer, units),)
    try:
        chosen = np.empty(shape, np.bool_)[index]
    except IndexError as problem:
        raise LayerNotFoundError(
            f"{layer!r} has no unit {units!r}: a row of it has the shape {shape} ({problem})"
        ) from None
    return Selection(form, tuple(index), shape=chosen.shape, single=single)


def _axis(layer: str, units: Units) -> Any:
    if isinstance(units, int | np.integer | slice):
        return units
    array = np.asarray(list(units) if isinstance(units, Iterable) else units)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise InvalidError(
            f"units of {layer!r} are an index, a tuple (channel, y, x), a slice or a list of "
            f"indices, not {units!r}"
        )
    return array


def _columns(layer: str, form: Form, units: Units) -> Selection:
    known = [part.name for part in form.parts]
    single = isinstance(units, str)
    asked: Sequence[str] = known if units is None else [units] if single else list(units)
    for name in asked:
        if name not in known:
            raise LayerNotFoundError(
                f"{layer!r} has no column {name!r}{nearest(str(name), known)}; it has "
                + ", ".join(known[:8])
                + (" …" if len(known) > 8 else "")
            )
    return Selection(form, columns=tuple(asked), single=single)


def nearest(name: str, known: Sequence[str]) -> str:
    """Return ' (nearest: …)' for an error about an unknown name, or ''."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    return f" (nearest: {', '.join(close)})" if close else ""
