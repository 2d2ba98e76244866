"""Which runs a SQL condition means: ``flor replay --where "lr > 0.01"``."""

from __future__ import annotations

import duckdb

from flor.errors import InvalidError
from flor.layout import StoreLayout
from flor.query.run_tables import runs_table
from flor.query.sql_engine import register


def matching_runs(layout: StoreLayout, condition: str) -> list[str]:
    """Return the ids of the runs that meet a SQL condition, oldest first.

    The condition sees the columns of ``runs``, and each hyperparameter as a column of its own name
    (one that has a column's name only as ``args.name``). Raises InvalidError.
    """
    runs = runs_table(layout).arrow()
    kind = runs.schema.field("args").type
    taken = {name.lower() for name in runs.column_names}
    names = [kind.field(i).name for i in range(kind.num_fields)]
    shown = [f'args."{name}" AS "{name}"' for name in names if name.lower() not in taken]
    connection = duckdb.connect(":memory:")
    try:
        register(connection, "runs", runs)
        columns = ", ".join(["*", *shown])
        rows = connection.execute(
            f"SELECT run FROM (SELECT {columns} FROM runs) WHERE ({condition}) ORDER BY run"
        ).fetchall()
    except duckdb.Error as cause:
        known = ", ".join([*names, *sorted(taken)])
        raise InvalidError(f"--where {condition!r}: {cause}\nColumns: {known}") from None
    finally:
        connection.close()
    return [str(row[0]) for row in rows]
