"""``flor export``."""

from __future__ import annotations

from pathlib import Path

import click

from flor.cli.options import open_store, parse_at, store_option


@click.command()
@click.argument("run", default="latest")
@click.option(
    "--at", metavar="LOOP=N", help="The state at the end of that iteration; else the last."
)
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The safetensors file to write.",
)
@click.option("--rank", type=int, help="Of a run of several: whose state; else the first's.")
@store_option
def export(run: str, at: str | None, output: Path, rank: int | None, store: Path | None) -> None:
    """Write a checkpoint of RUN as safetensors: model.conv1.weight, optimizer.state.0.exp_avg, …

    Numbers and strings of the state go into the file's metadata, as JSON.

    \b
    Example:  flor export latest --at epoch=3 --output epoch3.safetensors
    """
    import flor
    from flor.query.flatten import split_state
    from flor.query.safetensors_file import write_safetensors

    layout = open_store(store)
    state = flor.open(layout.root).load(layout.resolve(run), parse_at(at), rank)
    tensors, plain = split_state(state)
    count = write_safetensors(output, tensors, plain)
    click.echo(f"{output}: {count} tensors, {output.stat().st_size:,} bytes")
