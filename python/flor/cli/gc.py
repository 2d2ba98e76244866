"""``flor gc``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from flor.cli.options import open_store, store_option
from flor.cli.style import show_bytes


@click.command()
@click.option(
    "--keep",
    "rules",
    multiple=True,
    metavar="RULE",
    help="last=N, every=K, best=METRIC[:min|max] or bytes=SIZE; all that any rule keeps stays, "
    "as far as it fits into bytes.",
)
@click.option("--run", "runs", multiple=True, metavar="RUN", help="Rules are for these runs alone.")
@click.option("--dry-run", "dry", is_flag=True, help="Say what would go; change nothing.")
@click.option(
    "--small",
    is_flag=True,
    help="Store each checkpoint as a difference to the one before: fewer bytes, slower to restore.",
)
@click.option("--json", "as_json", is_flag=True, help="As JSON, in bytes.")
@store_option
def gc(
    rules: tuple[str, ...],
    runs: tuple[str, ...],
    dry: bool,
    small: bool,
    as_json: bool,
    store: Path | None,
) -> None:
    """Drop the checkpoints that no rule keeps, and give back the bytes that nothing needs.

    Without a rule no checkpoint goes. Runs that are being recorded or replayed keep all of theirs.
    The entry and the newest checkpoint of a run always stay.

    \b
    Examples: flor gc --keep last=3 --keep best=acc:max --dry-run
              flor gc --keep bytes=50G
              flor gc --small
    """
    from flor.upkeep.bar import byte_bar
    from flor.upkeep.collect import collect
    from flor.upkeep.keep import parse_keep

    keep = parse_keep(rules)
    layout = open_store(store)
    chosen = [layout.resolve(run) for run in runs] if runs else layout.run_ids()
    with byte_bar("compacting packs") as tell:
        done = collect(layout, chosen, keep, dry=dry, small=small, tell=tell)
    if as_json:
        click.echo(json.dumps(_content(layout.root, done)))
        return
    would = "would " if dry else ""
    for one in done.dropped:
        whose = f" rank {one.rank}" if one.rank else ""
        click.echo(f"{would}drop checkpoint {one.number} of run {one.run}{whose}{_place(one)}")
    if keep.any:
        click.echo(f"{len(done.dropped)} checkpoints go, {done.kept} stay")
    packs = ", ".join(
        f"{done.count(fate)} {fate}"
        for fate in ("removed", "rewritten", "in use", "kept", "damaged")
        if done.count(fate)
    )
    click.echo(f"packs: {packs or 'none'}")
    if small and not dry:
        click.echo(f"{done.recoded_chunks} chunks became differences to their neighbours")
    for note in done.notes:
        click.echo(f"note: {note}")
    verb = "would come back" if dry else "came back"
    click.echo(f"{show_bytes(done.freed_bytes)} {verb}")


def _place(one: Any) -> str:
    where = f"{one.boundary} {one.loop}".strip()
    return f" ({where} {one.iteration})" if one.iteration is not None else f" ({where})"


def _content(root: Path, done: Any) -> dict[str, Any]:
    return {
        "dry_run": done.dry,
        "dropped": [{"run": one.run, "checkpoint": one.number} for one in done.dropped],
        "kept": done.kept,
        "freed_bytes": done.freed_bytes,
        "recoded_chunks": done.recoded_chunks,
        "packs": [
            {**pack, "path": str(Path(pack["path"]).relative_to(root))} for pack in done.packs
        ],
        "notes": done.notes,
    }
