"""``flor replay``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from flor.cli.options import store_option
from flor.replay.request import ReplayRequest

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("run", default="latest")
@click.option(
    "--script", type=_FILE, metavar="PATH", help="Today's source; else the recorded path."
)
@click.option("--workers", type=click.IntRange(min=1), default=1, help="Processes at once.")
@click.option(
    "--only", multiple=True, metavar="LOOP=N[..M]", help="Only these iterations, ends included."
)
@click.option("--all", is_flag=True, help="All runs, each in its own version.")
@click.option("--where", metavar="SQL", help="Runs that match, hyperparameters as columns.")
@click.option("--sample", type=click.IntRange(min=1), metavar="N", help="N iterations, spread.")
@click.option("--report", type=_FILE, metavar="FILE", help="Write what happened as JSON.")
@click.option("--dry-run", is_flag=True, help="Show the plan and its cost; run nothing.")
@click.option("--force", is_flag=True, help="Replay although the source changed beyond probes.")
@click.option("--trust", is_flag=True, help="Unpickle from a store that is not signed with my key.")
@store_option
def replay(only: tuple[str, ...], **options: Any) -> None:
    """Run today's source against RUN (default: the latest) and merge what it logs anew.

    With --all or --where the statements that today's source adds are put into each run's own
    version first; where one has no sure place, the reason is told and the exit code is 2.

    Exits 0 when verified, 3 when a recorded value differs, 4 when the store is damaged, 5 when
    nothing could be compared.

    \b
    Examples: flor replay --workers 2
              flor replay latest --only epoch=3..5 --dry-run
              flor replay --where "lr > 0.01" --report report.json
    """
    from flor.replay.command import run

    places = [_only(part) for text in only for part in text.split(",")]
    sys.exit(run(ReplayRequest(only=tuple(places), **options)))


def _only(text: str) -> tuple[str, int, int]:
    match = re.fullmatch(r"([^=]+)=(\d+)(?:\.\.(\d+))?", text.strip())
    first, last = (int(match[2]), int(match[3] or match[2])) if match else (1, 0)
    if match is None or last < first:
        raise click.BadParameter(
            f"{text!r} is not LOOP=N or LOOP=N..M, such as epoch=3..5", param_hint="--only"
        )
    return match[1].strip(), first, last
