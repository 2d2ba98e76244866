"""What a query gives back: an Arrow table that converts to pandas, polars and Python rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from flor.errors import InvalidError
from flor.query.cells import Decode, decoder
from flor.query.kinds import is_array
from flor.query.render import html_table, text_table
from flor.query.store import Blobs

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_BATCH = 8192


class Table:
    """Rows and typed columns; ``for row in table`` gives dicts of the values that were logged."""

    def __init__(self, arrow: pa.Table, blobs: Blobs) -> None:
        self._arrow = arrow
        self._blobs = blobs

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self._arrow.column_names)

    def arrow(self) -> pa.Table:
        """Return the pyarrow table itself, nothing copied.

        Arrays are structs (dtype, shape, ref); a column of several kinds of value is a struct with
        one field per kind.
        """
        return self._arrow

    def df(self) -> pd.DataFrame:
        """Return a pandas frame: arrays, JSON and mixed values as Python objects, ints with gaps
        as pandas' Int64."""
        import pandas as pd

        columns = {}
        for position, field in enumerate(self._arrow.schema):
            column = self._arrow.column(position)
            decode = decoder(field, self._blobs)
            if decode is not None:
                cells = list(_decoded(column, decode))
                columns[position] = pd.Series(_objects(cells), dtype=object)
            else:
                columns[position] = column.to_pandas(types_mapper=_nullable(column))
        frame = pd.DataFrame(columns)
        frame.columns = pd.Index(self.columns)
        return frame

    def pl(self) -> pl.DataFrame:
        """Return a polars frame, shared with the Arrow table where polars can.

        Raises InvalidError where polars is not installed.
        """
        try:
            import polars
        except ImportError:
            raise InvalidError(
                "polars is not installed; install it (pip install 'flor[polars]'), "
                "or use .df() for pandas, .arrow() for pyarrow"
            ) from None
        frame = polars.from_arrow(self._arrow)
        assert isinstance(frame, polars.DataFrame)
        return frame

    def rows(self, *, arrays: bool = True) -> Iterator[tuple[Any, ...]]:
        """Yield the rows as tuples of the values that were logged.

        ``arrays=False``: arrays of up to 1,000 elements as lists, larger ones described by a dict
        (dtype, shape, ref) and not read.
        """
        blobs = self._blobs if arrays else _Plain(self._blobs)
        decoders = [decoder(field, blobs) for field in self._arrow.schema]
        for batch in self._arrow.to_batches(max_chunksize=_BATCH):
            columns = [
                list(_decoded(column, decode)) if decode else column.to_pylist()
                for column, decode in zip(batch.columns, decoders, strict=True)
            ]
            yield from zip(*columns, strict=True)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        names = self.columns
        return (dict(zip(names, row, strict=True)) for row in self.rows())

    def __len__(self) -> int:
        return int(self._arrow.num_rows)

    def __repr__(self) -> str:
        return text_table(self)

    def _repr_html_(self) -> str:
        return html_table(self)

    def window(self, start: int, stop: int) -> Table:
        """Return rows ``start`` up to ``stop``, nothing copied."""
        return Table(self._arrow.slice(start, max(0, stop - start)), self._blobs)


class _Plain(Blobs):
    """Decodes arrays as JSON has them instead of as numpy arrays."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    def array(self, value: dict[str, Any]) -> Any:
        return self._blobs.plain(value)


def _decoded(column: pa.Array | pa.ChunkedArray, decode: Decode) -> Iterator[Any]:
    for cell in column.to_pylist():
        yield None if cell is None else decode(cell)


def _objects(cells: list[Any]) -> Any:
    import numpy as np

    column = np.empty(len(cells), object)
    for row, cell in enumerate(cells):  # one by one: numpy would take a list of lists apart
        column[row] = cell
    return column


def _nullable(column: pa.ChunkedArray) -> Any:
    import pandas as pd

    if column.null_count == 0 or is_array(column.type):
        return None
    gaps: dict[Any, Any] = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    return gaps.get
