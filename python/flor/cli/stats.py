"""``flor stats``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from flor.cli.options import open_store, store_option
from flor.cli.style import show_bytes


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, in bytes.")
@store_option
def stats(as_json: bool, store: Path | None) -> None:
    """Show where the bytes of the store are, and what was saved.

    \b
    Example:  flor stats --json
    """
    from flor.upkeep.usage import store_usage

    told = store_usage(open_store(store))
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"store     {told['store']}")
    click.echo(
        f"packs     {told['packs']} files, {show_bytes(told['pack_bytes'])}: "
        f"{show_bytes(told['live'])} live, {show_bytes(told['dead'])} not (flor gc)"
    )
    click.echo(f"versions  {show_bytes(told['versions'])}")
    for title, rows in (
        ("what names it", told["kinds"]),
        ("how it is stored", told["codecs"]),
    ):
        click.echo(f"\n{title}\tcontent\ton disk")
        for row in rows:
            name = row.get("kind") or row["codec"]
            click.echo(f"{name}\t{show_bytes(row['content'])}\t{show_bytes(row['stored'])}")
    _print_saved(told)
    click.echo("\nrun\tlog\treplays\tcheckpoints\tstate\ton disk\tits own")
    for run in told["runs"]:
        sizes = (show_bytes(run[part]) for part in ("log", "replays"))
        rest = (show_bytes(run[part]) for part in ("raw", "stored", "own"))
        click.echo("\t".join([run["run"], *sizes, str(run["checkpoints"]), *rest]))


def _print_saved(told: dict[str, Any]) -> None:
    raw = sum(run["raw"] for run in told["runs"])
    click.echo(f"\nstates    {show_bytes(raw)}, of which needed no room:")
    for name, title in (
        ("within_checkpoints", "twice in a checkpoint"),
        ("across_checkpoints", "in a checkpoint before"),
        ("across_runs", "in another run"),
        ("compression", "compression"),
    ):
        share = f" ({told['saved'][name] / raw:.1%})" if raw else ""
        click.echo(f"  {title}\t{show_bytes(told['saved'][name])}{share}")
