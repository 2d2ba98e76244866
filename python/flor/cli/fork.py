"""``flor fork``."""

from __future__ import annotations

from pathlib import Path

import click

from flor.cli.options import parse_at, parse_setting, store_option


@click.command()
@click.argument("run", default="latest")
@click.option("--at", required=True, metavar="LOOP=N", help="The state at the end of iteration N.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="K=V",
    help="Change a flor.arg, an optimizer's option or a variable, after the restore.",
)
@click.option(
    "--allow",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="PATH",
    help="Let the fork write there too.",
)
@store_option
def fork(
    run: str, at: str, settings: tuple[str, ...], allow: tuple[Path, ...], store: Path | None
) -> None:
    """Start a new run from a state of RUN (default: the latest), with changed hyperparameters.

    The program and its arguments are those of RUN. The fork has a working folder of its own in the
    store; writes elsewhere are refused. Exits with the script's own code.

    \b
    Examples: flor fork --at epoch=5 --set lr=1e-4
              flor fork 20260101-120000-abcdef --at epoch=5 --set scheduler.gamma=0.5
    """
    from flor.travel.command import fork as start

    place = parse_at(at) or {}
    start(store, run, place, dict(parse_setting(text) for text in settings), list(allow))
