"""``flor checkpoints``."""

from __future__ import annotations

from pathlib import Path

import click

from flor.cli.options import open_store, output_options, store_option


@click.command()
@click.argument("run", default="latest")
@output_options
@store_option
def checkpoints(run: str, store: Path | None, form: str | None, output: Path | None) -> None:
    """List the checkpoints of RUN: where, how large, how much of it was new on disk, when.

    \b
    Example:  flor checkpoints latest
    """
    from flor.cli.output import write_table
    from flor.query.run_tables import checkpoints_table

    write_table(checkpoints_table(open_store(store), run), form, output)
