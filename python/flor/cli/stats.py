"""``flor stats``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from flor.cli.options import open_store, store_option
from flor.cli.style import show_bytes


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As JSON, in bytes.")
@store_option
def stats(as_json: bool, store: Path | None) -> None:
    """Show where the bytes of the store are.

    \b
    Example:  flor stats --json
    """
    from flor.query.summary import store_stats

    told = store_stats(open_store(store))
    if as_json:
        click.echo(json.dumps(told))
        return
    runs = told["runs"]
    raw = sum(run["raw"] for run in runs)
    click.echo(f"store        {told['store']}")
    click.echo(f"packs        {told['packs']} files, {show_bytes(told['pack_bytes'])}")
    click.echo(
        f"chunks       {told['chunks']:,}: {show_bytes(told['chunk_raw'])} of content "
        f"in {show_bytes(told['chunk_stored'])}"
    )
    if raw:
        share = told["chunk_raw"] / raw
        click.echo(f"checkpoints  {show_bytes(raw)} of state, {share:.1%} of it distinct")
    click.echo(f"versions     {show_bytes(told['versions'])}")
    click.echo("")
    click.echo("run\tlog\treplays\tcheckpoints\tstate\tadded")
    for run in runs:
        sizes = (show_bytes(run[part]) for part in ("log", "replays"))
        state, added = show_bytes(run["raw"]), show_bytes(run["stored"])
        click.echo("\t".join([run["run"], *sizes, str(run["checkpoints"]), state, added]))
