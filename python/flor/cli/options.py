"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flor.layout import StoreLayout

Command = Callable[..., Any]

FORMATS = ("table", "jsonl", "csv", "parquet")


def store_option(command: Command) -> Command:
    """Add ``--store PATH``."""
    return click.option(
        "--store",
        metavar="PATH",
        type=click.Path(path_type=Path),
        help="The store; else FLOR_STORE, else ./.flor.",
    )(command)


def output_options(command: Command) -> Command:
    """Add ``--format`` and ``--output``."""
    command = click.option(
        "--output",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write there instead of to the terminal.",
    )(command)
    return click.option(
        "--format",
        "form",
        type=click.Choice(FORMATS),
        help="How to write it; from the name of --output when not given, else table.",
    )(command)


def open_store(store: Path | None) -> StoreLayout:
    """Return the store that a verb was told to use; raises NotAStoreError, NewerFormatError."""
    return StoreLayout.open(store)


def parse_at(text: str | None) -> dict[str, int] | None:
    """Return the place that ``epoch=3,step=7`` names; raises click.BadParameter."""
    if text is None:
        return None
    place = {}
    for part in text.split(","):
        loop, equals, index = part.strip().partition("=")
        if not loop or not equals or not index.strip().isdigit():
            raise click.BadParameter(f"{text!r} is not LOOP=N[,LOOP=N…], such as epoch=3")
        place[loop.strip()] = int(index)
    return place


def parse_setting(text: str) -> tuple[str, str]:
    """Return the name and the value that ``lr=0.1`` gives; raises click.BadParameter."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not K=V", param_hint="--set")
    return name, value
