"""Logs, runs and checkpoints as tables, and SQL over them.

Import this where a query is asked: it brings pyarrow, and ``sql`` brings duckdb.
"""

from __future__ import annotations

from flor.layout import StoreLayout
from flor.query.log_tables import long_logs, wide_logs
from flor.query.run_tables import checkpoints_table, runs_table
from flor.query.table import Table

__all__ = ["Table", "checkpoints", "logs", "runs", "sql"]


def logs(layout: StoreLayout, *names: str, run: str | None = None) -> Table:
    """Return logs: without names long, a row a record; with names wide, a column a name.

    ``run``: an id, a prefix, 'latest'; None: all runs. Raises InvalidError for an unknown name,
    RunNotFoundError, AmbiguousRunError, CorruptError.
    """
    return wide_logs(layout, list(names), run) if names else long_logs(layout, run)


def runs(layout: StoreLayout) -> Table:
    """Return a row a run."""
    return runs_table(layout)


def checkpoints(layout: StoreLayout, run: str | None = None) -> Table:
    """Return a row a checkpoint of one run, or of all."""
    return checkpoints_table(layout, run)


def sql(layout: StoreLayout, query: str) -> Table:
    """Answer one SQL statement over logs, wide, runs and checkpoints; raises InvalidError."""
    from flor.query.sql_engine import run_sql

    return run_sql(layout, query)
