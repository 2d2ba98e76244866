"""``flor runs``."""

from __future__ import annotations

from pathlib import Path

import click

from flor.cli.options import open_store, output_options, store_option


@click.command()
@output_options
@store_option
def runs(store: Path | None, form: str | None, output: Path | None) -> None:
    """List the runs of the store, oldest first.

    \b
    Example:  flor runs --store /data/experiments
    """
    from flor.cli.output import write_table
    from flor.query.run_tables import runs_table

    write_table(runs_table(open_store(store)), form, output)
