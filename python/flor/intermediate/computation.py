"""What can compute intermediates again: a network, a pipeline of stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Protocol

from numpy.typing import NDArray

from flor.intermediate.forms import Form, Key

# Of a tensor: an array (rows, *unit_shape). Of a table: an array a column, by name.
Values = Any


class Computation(Protocol):
    """A graph of layers or stages over the rows of one dataset. Computes exactly, always."""

    @property
    def row_ids(self) -> NDArray[Any]:
        """The int64 ids of all rows of the data, in order."""
        ...

    def layers(self) -> Sequence[str]:
        """Return the names, in the order in which they are computed."""
        ...

    def key(self, layer: str) -> Key:
        """Return the name of that layer's values by content."""
        ...

    def form(self, layer: str) -> Form:
        """Return its form; may compute a few rows to learn it."""
        ...

    def parents(self, layer: str) -> Sequence[str]:
        """Return the layers that together suffice to compute this one; none: the input alone."""
        ...

    def together(self, rows: NDArray[Any] | None) -> NDArray[Any] | None:
        """Return the row ids that computing these takes along, None for all, in order.

        A network's last bits depend on the batch that a row is in, a join on the whole table.
        :meth:`compute` answers other rows too, but leaves ``given`` for them unused where that
        would not be exact.
        """
        ...

    def compute(
        self, layer: str, rows: NDArray[Any] | None, given: Mapping[str, Values]
    ) -> tuple[NDArray[Any], Values]:
        """Return (row ids, values) for these row ids, None for all.

        ``given``: values of ancestors for the same rows; with none it begins at the input.
        """
        ...

    def seconds(self, layer: str, rows: int, given: Set[str]) -> float:
        """Return how long :meth:`compute` will take for so many rows from these ancestors."""
        ...
