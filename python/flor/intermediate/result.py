"""The answer of a query: values with their row ids, what they may be off by, and how they came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from flor.intermediate.planning.plan import Plan


@dataclass
class Result:
    """What a query answers.

    ``row_id``: int64 ids of the rows that it is about. ``values``: an array, or one a column for a
    table of several; one item of the first axis a row, or, where ``index`` is given, an item of
    ``index`` (a class, a bin, a unit). ``error``: the most by which a value may be off from what
    the model computed, 0.0 for exact answers, NaN where that is not known. ``facts``: the figures
    besides, by name. ``plan``: what was read and what was computed, with its cost. ``names``: of
    what lies along the other axes.
    """

    row_id: NDArray[Any]
    values: Any
    error: float = 0.0
    title: str = ""
    names: list[str] | Callable[[], list[str]] = field(default_factory=list)
    index: tuple[str, Any] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    plan: Plan | None = None
    picture: str = "lines"

    def numpy(self) -> NDArray[Any]:
        """Return the values as one array; columns of a table side by side."""
        if not isinstance(self.values, dict):
            return np.asarray(self.values)
        columns = list(self.values.values())
        return np.stack(columns, axis=1) if columns else np.empty((len(self.row_id), 0))

    def torch(self) -> Any:
        """Return the values as a torch tensor."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(self.numpy()))

    def df(self) -> pd.DataFrame:
        """Return a pandas frame, indexed by row id (or by what ``index`` says)."""
        import pandas as pd

        name, labels = self.index or ("row_id", self.row_id)
        return pd.DataFrame(self._columns(), index=pd.Index(labels, name=name))

    def arrow(self) -> pa.Table:
        """Return an Arrow table; its first column is ``row_id`` (or what ``index`` says)."""
        import pyarrow as pa

        name, labels = self.index or ("row_id", self.row_id)
        return pa.table({name: pa.array(labels), **self._columns()})

    def item(self) -> Any:
        """Return the value of an answer that has one."""
        array = self.numpy()
        if array.size != 1:
            raise InvalidError(f"{self.title or 'the answer'} has {array.size} values; .numpy()")
        return array.reshape(-1)[0].item()

    def plot(self, path: Any = None) -> Any:
        """Return a matplotlib figure of the answer; with ``path`` it is written there too."""
        from flor.intermediate.queries.picture import draw

        return draw(self, path)

    def _columns(self) -> dict[str, Any]:
        if isinstance(self.values, dict):
            return dict(self.values)
        array = np.asarray(self.values)
        flat = array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)
        if flat.shape[1] == 1:
            return {"value": flat[:, 0]}
        known = self.names() if callable(self.names) else self.names
        names = known if len(known) == flat.shape[1] else map(str, range(flat.shape[1]))
        return {name: flat[:, at] for at, name in enumerate(names)}

    def __len__(self) -> int:
        return len(self.row_id if self.index is None else self.index[1])

    def __repr__(self) -> str:
        shape = (
            f"{len(self.values)} columns"
            if isinstance(self.values, dict)
            else "×".join(map(str, np.shape(self.values))) or "one value"
        )
        off = (
            "exact"
            if self.error == 0
            else "error unknown"
            if np.isnan(self.error)
            else f"within {self.error:.3g}"
        )
        figures = "".join(
            f", {name} {value:.4g}" if isinstance(value, float) else f", {name} {value}"
            for name, value in self.facts.items()
            if isinstance(value, int | float | str)
        )
        return f"<{self.title or 'Result'}: {shape}, {off}{figures}>"
