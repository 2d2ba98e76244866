"""``flor show``."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import click

from flor.cli.options import open_store, store_option
from flor.cli.style import show_bytes, show_seconds, show_time, sparkline
from flor.layout import StoreLayout, run_status


@click.command()
@click.argument("run", default="latest")
@store_option
def show(run: str, store: Path | None) -> None:
    """Show a RUN: what it was, what recording cost, what it holds, what replays found.

    \b
    Example:  flor show latest
    """
    layout = open_store(store)
    run = layout.resolve(run)
    meta = layout.read_run(run)
    lines = [*_head(run, meta), *_ranks(layout, run), *_troubles(meta)]
    lines += _checkpoints(layout, run)
    lines += [*_names(layout, run), *_replays(layout, run)]
    click.echo("\n".join(lines))


def _field(name: str, value: Any) -> str:
    return f"{name:<12} {value}"


def _head(run: str, meta: dict[str, Any]) -> list[str]:
    lines = [_field("run", run), _field("status", _status(meta))]
    command = shlex.join([str(meta.get("script") or ""), *map(str, meta.get("argv") or [])])
    lines.append(_field("command", command))
    lines.append(_field("folder", meta.get("cwd", "")))
    took = show_seconds(meta.get("seconds"))
    lines.append(_field("started", show_time(meta.get("started")) + (f", {took}" if took else "")))
    lines.append(_field("version", meta.get("version") or ""))
    if meta.get("parent"):
        lines.append(_field("parent", f"{meta['parent']}, from {_place(meta.get('fork') or {})}"))
    for resume in meta.get("resumes") or []:
        when = show_time(resume.get("time"))
        lines.append(_field("resumed", f"{when}, from {_place(resume)}"))
    where = f"{meta.get('host', '')} pid {meta.get('pid', '')} python {meta.get('python', '')}"
    lines.append(_field("process", where))
    for name, value in (meta.get("args") or {}).items():
        lines.append(_field("arg", f"{name} = {json.dumps(value)}"))
    return [*lines, *_overhead(meta)]


def _ranks(layout: StoreLayout, run: str) -> list[str]:
    """Name the processes of a run of several ranks."""
    ranks = layout.ranks(run)
    metas = {rank: layout.read_rank(run, rank) for rank in ranks}
    world = max([len(ranks), *(meta.get("world") or 1 for meta in metas.values())])
    if world == 1:
        return []
    lines = [_field("ranks", f"{len(ranks)}" + (f" of {world}" if world > len(ranks) else ""))]
    for rank, meta in metas.items():
        main = meta.get("main") or {}
        loop, done = main.get("loop"), main.get("iterations")
        trained = f", {done if done is not None else '?'} × {loop}" if loop else ""
        lines.append(_field("", f"{rank}: {_status(meta)}, pid {meta.get('pid')}{trained}"))
    told = set(metas[ranks[0]].get("notes") or []) if ranks else set()
    for rank, meta in metas.items():
        for text in [*(meta.get("errors") or []), *(meta.get("notes") or [])]:
            if rank and text not in told:  # most ranks would say the same
                told.add(text)
                lines.append(_field("note", f"rank {rank}: {text}"))
    return lines


def _place(told: dict[str, Any]) -> str:
    """Say where a run went on: the end of an iteration, or its beginning."""
    steps = ", ".join(f"{loop}={index}" for loop, index in told.get("context") or [])
    return f"the end of {steps}" if steps else "the beginning"


def _status(meta: dict[str, Any]) -> str:
    status = run_status(meta)
    code = meta.get("exit_code")
    return f"{status} (exit code {code})" if code else status


def _overhead(meta: dict[str, Any]) -> list[str]:
    overhead = meta.get("overhead") or {}
    compute, share = overhead.get("compute_seconds"), overhead.get("fraction")
    if not compute or share is None:
        return []
    bound, aim = overhead.get("epsilon"), overhead.get("aim")
    text = (
        f"{show_seconds(share * compute)} beside {show_seconds(compute)} of training: {share:.2%}"
    )
    if bound:
        text += f", bound {bound:.2%} ({'kept' if share <= bound else 'exceeded'})"
        text += f", aimed at {aim:.0%} and a start" if aim else ""
    return [_field("recording", text)]


def _troubles(meta: dict[str, Any]) -> list[str]:
    lines = []
    if meta.get("lost_records"):
        lines.append(_field("LOST", f"{meta['lost_records']:,} records could not be stored"))
    lines += [_field("error", text) for text in meta.get("errors") or []]
    lines += [_field("note", text) for text in meta.get("notes") or []]
    return lines


def _checkpoints(layout: StoreLayout, run: str) -> list[str]:
    from flor.query.run_tables import checkpoint_rows

    rows = checkpoint_rows(layout, run)
    if not rows:
        return [_field("checkpoints", "none")]
    raw, stored = sum(row["bytes"] for row in rows), sum(row["stored"] for row in rows)
    last = " ".join(f"{step['loop']}={step['index']}" for step in rows[-1]["context"])
    text = f"{len(rows)}, {show_bytes(raw)} of state in {show_bytes(stored)}"
    return [_field("checkpoints", text + (f", the last at {last}" if last else ""))]


def _names(layout: StoreLayout, run: str) -> list[str]:
    from flor.query.summary import names_of

    lines = []
    for one in names_of(layout, run):
        text = f"{one.count:,} × {'/'.join(one.kinds)}"
        if one.replayed:
            text += f", {one.replayed:,} from replay"
        lines.append(f"  {one.name:<20} {text}")
        if len(one.numbers) > 1:
            ends = f"{one.numbers[0]:.6g} → {one.numbers[-1]:.6g}"
            lines.append(f"  {'':<20} {sparkline(one.numbers)}  {ends}")
    return ["", "records", *(lines or ["  none"])]


def _replays(layout: StoreLayout, run: str) -> list[str]:
    lines = []
    for replay in layout.replays(run):
        new = (replay.get("records") or {}).get("new", 0)
        lines.append(
            f"  {replay.get('id', replay['dir'].name)}  {replay.get('verdict')}  "
            f"{replay.get('compared', 0):,} compared, {new:,} new, "
            f"{show_seconds(replay.get('seconds'))}"
        )
        lines += [
            f"    differs: {_difference(one)}" for one in (replay.get("differences") or [])[:5]
        ]
    return ["", "replays", *lines] if lines else []


def _difference(one: Any) -> str:
    return one if isinstance(one, str) else json.dumps(one)
