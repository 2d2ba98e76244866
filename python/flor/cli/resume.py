"""``flor resume``."""

from __future__ import annotations

from pathlib import Path

import click

from flor.cli.options import store_option


@click.command()
@click.argument("run", default="latest")
@click.option("--keep-files", is_flag=True, help="Leave the files in the run's folder as they are.")
@store_option
def resume(run: str, keep_files: bool, store: Path | None) -> None:
    """Continue RUN (default: the latest), killed or failed, from its last checkpoint.

    It goes on under its own id as if it had never stopped: what it recorded after the checkpoint
    is superseded, and the files in its folder are put back to that moment. Exits with the script's
    own code.

    \b
    Examples: flor resume
              flor resume 20260101-120000-abcdef --keep-files
    """
    from flor.travel.command import resume as start

    start(store, run, keep_files=keep_files)
