"""``flor demo``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from flor.cli.options import store_option


@click.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("flor-demo"),
    show_default=True,
    metavar="FOLDER",
    help="Where the script, the store and the plot go.",
)
@click.option("--epochs", type=click.IntRange(min=2), help="How long to train.")
@store_option
def demo(output: Path, epochs: int | None, store: Path | None) -> None:
    """Train a small network, then ask it what was not logged.

    \b
    Example:  flor demo --output /tmp/flor-demo
    """
    from flor.demo import run_demo

    sys.exit(run_demo(output, epochs=epochs, store=store))
