"""SQL over layers: each is a table, by its name.

A table of a pipeline has its columns, a tensor the column ``values`` (a list a row, in C order);
both have ``row_id``. Layers that the query names are had whole, each by a plan: which columns a
query does without is not seen from its text (``natural join``, ``columns(…)``, a row as a value).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flor.errors import InvalidError
from flor.intermediate.planning.access import Access
from flor.intermediate.planning.plan import Accuracy
from flor.intermediate.queries.query import Job, Query, job
from flor.intermediate.result import Result

if TYPE_CHECKING:
    import pyarrow as pa

_WORD = re.compile(r'"([^"]+)"|(\w+)')


@dataclass(frozen=True)
class Sql(Query):
    """``query``: in DuckDB's SQL; names of layers with dots in double quotes."""

    query: str
    accuracy: Accuracy = "exact"

    def jobs(self, access: Access) -> list[Job]:
        """A plan for each layer that the query names."""
        words = {quoted or plain for quoted, plain in _WORD.findall(self.query)}
        known = access.planner.computation.layers()
        named = [layer for layer in known if layer in words]
        if not named:
            raise InvalidError(
                f"the query names no layer; there are {', '.join(known[:12])}"
                + (" …" if len(known) > 12 else "")
            )
        return [job(access, layer, None, None, self.accuracy) for layer in named]

    def answer(self, jobs: Sequence[Job]) -> Result:
        """Return the rows of the answer; ``row_id`` from the column of that name."""
        import duckdb

        connection = duckdb.connect()
        try:
            for one in jobs:
                (want,) = one.plan.wants
                connection.register(want.layer, _arrow(*one.fetch(want.layer)))
            relation = connection.sql(self.query)
            if relation is None:
                raise InvalidError("the query gives no rows; only questions are answered here")
            found = relation.to_arrow_table()
        except duckdb.Error as problem:
            raise InvalidError(f"the query failed: {problem}") from None
        finally:
            connection.close()
        columns = {name: found[name].to_numpy() for name in found.column_names}
        ids = columns.get("row_id", np.empty(0, np.int64))
        error = 0.0 if all(one.plan.error == 0 for one in jobs) else float("nan")
        return Result(ids, columns, error, "sql", index=("row", np.arange(found.num_rows)))


def _arrow(ids: Any, values: Any) -> pa.Table:
    import pyarrow as pa

    if isinstance(values, dict):
        columns = {name: pa.array(column) for name, column in values.items()}
    else:
        flat = np.asarray(values).reshape(len(ids), -1)
        items = pa.array(np.ascontiguousarray(flat).reshape(-1))
        columns = {"values": pa.FixedSizeListArray.from_arrays(items, flat.shape[1])}
    return pa.table({"row_id": pa.array(ids), **columns})
