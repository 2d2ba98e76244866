"""``flor fsck``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from flor.cli.options import open_store, store_option

DAMAGED = 4


@click.command()
@click.option("--repair", "mend", is_flag=True, help="Set damaged parts aside, in lost+found.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@store_option
def fsck(mend: bool, as_json: bool, store: Path | None) -> None:
    """Read everything in the store again; say what is damaged and what depends on it.

    Exits 4 where something is damaged, also when a repair had to leave it.

    \b
    Examples: flor fsck
              flor fsck --repair
    """
    from flor.upkeep.bar import byte_bar
    from flor.upkeep.check import check
    from flor.upkeep.repair import repair

    layout = open_store(store)
    with byte_bar("reading chunks") as tell:
        found = check(layout, tell)
    done: list[str] = []
    if not as_json:
        _print(layout.root, found)
    if mend and found.damages:
        done = repair(layout, found)
        found = check(layout)
        if not as_json:
            click.echo("")
            for line in done:
                click.echo(f"repaired: {line}")
            click.echo("")
            _print(layout.root, found)
    if as_json:
        click.echo(json.dumps({**_content(layout.root, found), "repaired": done}))
    elif found.damages and not mend:
        click.echo("flor fsck --repair sets it aside, in lost+found; nothing is deleted")
    sys.exit(DAMAGED if found.damages else 0)


def _content(root: Path, found: Any) -> dict[str, Any]:
    damages = [
        {**vars(damage), "path": str(damage.path.relative_to(root))} for damage in found.damages
    ]
    return {"checked": found.counts, "damages": damages, "notes": found.notes}


def _print(root: Path, found: Any) -> None:
    for damage in found.damages:
        click.echo(f"damaged: {damage.path.relative_to(root)}: {damage.what}")
        for name in damage.depends[:10]:
            click.echo(f"  needed by {name}")
        if len(damage.depends) > 10:
            click.echo(f"  and by {len(damage.depends) - 10} more")
    for note in found.notes:
        click.echo(f"note: {note}")
    checked = ", ".join(f"{count:,} {kind}" for kind, count in found.counts.items())
    verdict = f"{len(found.damages)} parts are damaged" if found.damages else "all is well"
    click.echo(f"{verdict}; read: {checked}")
