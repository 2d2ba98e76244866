"""Intermediates that are kept, with nothing at hand that could compute them again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from functools import cached_property
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from flor.errors import InvalidError, LayerNotFoundError
from flor.intermediate.forms import Form, Key
from flor.intermediate.planning.selection import nearest

if TYPE_CHECKING:
    from flor.intermediate.storage.kept import Kept
    from flor.intermediate.storage.store import IntermediateStore


class Archive:
    """A computation that only knows what was kept of a model and data. Thread-safe.

    Raises LayerNotFoundError when nothing was.
    """

    def __init__(self, store: IntermediateStore, model: str, data: str) -> None:
        self._kept: dict[str, Kept] = {}
        for kept in store.find(model=model, data=data):
            what = kept.key.what
            name = kept.key.layer if what == "output" else f"{kept.key.layer}:{what}"
            self._kept.setdefault(name, kept)
        if not self._kept:
            raise LayerNotFoundError("nothing is kept of this model and these data")

    @cached_property
    def row_ids(self) -> NDArray[Any]:
        """The ids of the layer that has most rows; others may lack some."""
        return max(self._kept.values(), key=lambda one: one.rows).row_ids()

    def layers(self) -> Sequence[str]:
        """Return what was kept, oldest first."""
        return sorted(self._kept, key=lambda name: self._kept[name].created)

    def key(self, layer: str) -> Key:
        """Return the key of a layer; raises LayerNotFoundError."""
        return self._one(layer).key

    def form(self, layer: str) -> Form:
        """Return the form of a layer; raises LayerNotFoundError."""
        return self._one(layer).form

    def parents(self, layer: str) -> Sequence[str]:
        """Return nothing: no layer is computed from others here."""
        return ()

    def together(self, rows: NDArray[Any] | None) -> NDArray[Any] | None:
        """Return the rows."""
        return rows

    def compute(
        self, layer: str, rows: NDArray[Any] | None, given: Mapping[str, Any]
    ) -> tuple[NDArray[Any], Any]:
        """Raise InvalidError: there is no model."""
        raise InvalidError(f"{layer!r} can't be computed: neither model nor data are at hand")

    def seconds(self, layer: str, rows: int, given: Set[str]) -> float:
        """Return infinity."""
        return math.inf

    def _one(self, layer: str) -> Kept:
        if layer not in self._kept:
            raise LayerNotFoundError(
                f"nothing is kept of a layer {layer!r}{nearest(layer, list(self._kept))}"
            )
        return self._kept[layer]
