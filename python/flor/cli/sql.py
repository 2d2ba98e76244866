"""``flor sql``."""

from __future__ import annotations

from pathlib import Path

import click

from flor.cli.options import open_store, output_options, store_option


@click.command()
@click.argument("query")
@output_options
@store_option
def sql(query: str, store: Path | None, form: str | None, output: Path | None) -> None:
    """Answer a SQL QUERY over the tables logs, wide, runs and checkpoints.

    \b
    logs(run, rank, origin, context, name, value, time, and a column a loop)
    wide(run, rank, a column a loop, occurrence, a column a name)
    runs(run, script, argv, status, started, seconds, version, parent, args, modules, inputs)
    checkpoints(run, rank, context, bytes, stored, time)

    \b
    Example:  flor sql "SELECT epoch, avg(value) FROM logs WHERE name = 'loss' GROUP BY epoch"
    """
    from flor.cli.output import write_table
    from flor.query.sql_engine import run_sql

    write_table(run_sql(open_store(store), query), form, output)
