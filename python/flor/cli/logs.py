"""``flor logs``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from flor.cli.options import open_store, output_options, store_option


@click.command()
@click.argument("run", default="latest")
@click.option("--name", "names", multiple=True, metavar="N", help="Only this name; repeatable.")
@click.option("--origin", type=click.Choice(["record", "replay"]), help="Only these rows.")
@click.option("--diverged", is_flag=True, help="Also what replays logged that diverged.")
@click.option("--internal", is_flag=True, help="Also flor's own records.")
@output_options
@store_option
def logs(
    run: str,
    names: tuple[str, ...],
    origin: str | None,
    diverged: bool,
    internal: bool,
    store: Path | None,
    form: str | None,
    output: Path | None,
) -> None:
    """Show what RUN logged, and what replays added, in the order of the run.

    \b
    Example:  flor logs latest --name loss --format jsonl
    """
    from flor.cli.output import write_table
    from flor.query.log_tables import long_logs

    table = long_logs(
        open_store(store),
        run,
        names=list(names) or None,
        origin=origin,
        diverged=diverged,
        internal=internal,
        keep_ints=True,  # a row is a record: its value as it was logged
    )
    ranks = table.arrow()["rank"].unique().to_pylist()
    write_table(table, form, output, row=_jsonl_row if set(ranks) <= {0} else None)


def _jsonl_row(row: dict[str, Any]) -> dict[str, Any]:
    """Leave the rank out where the run has one only."""
    return {name: value for name, value in row.items() if name != "rank"}
