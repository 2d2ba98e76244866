"""``flor shell``."""

from __future__ import annotations

from pathlib import Path

import click

from flor.cli.options import parse_at, store_option


@click.command()
@click.argument("run", default="latest")
@click.option("--at", metavar="LOOP=N", help="The state at the end of iteration N; else the last.")
@store_option
def shell(run: str, at: str | None, store: Path | None) -> None:
    """Open an interactive Python with the live objects of RUN (default: the latest) as they were.

    IPython where it is installed. When stdin is not a terminal its statements are executed; a
    failed one makes the exit code 1. The run and your files can't be changed from there.

    \b
    Examples: flor shell --at epoch=7
              echo 'net.weight.norm()' | flor shell latest --at epoch=7
    """
    from flor.travel.command import shell as start

    start(store, run, parse_at(at))
