"""Keep rules of ``flor gc``: which checkpoints of a run may go.

``last=N`` the newest N of each kind of boundary; ``every=K`` those of iterations that K divides;
``best=METRIC[:min|max]`` that of the iteration with the least (or greatest) value of a metric;
``bytes=SIZE`` the newest that fit, of what the other rules keep. A checkpoint stays when any of the
first three keeps it. Two are never dropped: the entry of the main loop, where a replay begins, and
the newest, from which a run is resumed and loaded.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flor import _core
from flor.errors import InvalidError, NotFoundError
from flor.layout import StoreLayout
from flor.query.records import load_records
from flor.query.store import Blobs
from flor.sizes import parse_bytes
from flor.upkeep.references import chunk_ids, manifest_references

_EXAMPLE = "write last=3, every=10, best=loss, best=acc:max or bytes=20G"


@dataclass(frozen=True)
class Saved:
    """One checkpoint: where it was taken, and the chunks that it names."""

    run: str
    rank: int
    number: int
    path: Path
    boundary: str
    loop: str
    iteration: int | None
    time: float
    chunks: frozenset[bytes]


@dataclass(frozen=True)
class Best:
    """The iteration with the least or greatest value of a metric."""

    metric: str
    greatest: bool


@dataclass(frozen=True)
class Keep:
    """The rules of one collection."""

    last: int | None = None
    every: int | None = None
    best: tuple[Best, ...] = ()
    bytes: int | None = None

    @property
    def any(self) -> bool:
        """Whether there is a rule; without one no checkpoint goes."""
        return self != Keep()


def parse_keep(texts: tuple[str, ...]) -> Keep:
    """Return the rules that ``--keep`` gave; raises InvalidError."""
    found: dict[str, Any] = {}
    best = []
    for text in texts:
        rule, equals, value = text.partition("=")
        if rule == "best" and value:
            metric, colon, way = value.rpartition(":")
            if not colon or way not in ("min", "max"):
                metric, way = value, "min"
            best.append(Best(metric, way == "max"))
            continue
        number = parse_bytes(value) if rule == "bytes" else _count(value)
        if rule not in ("last", "every", "bytes") or not equals or number is None:
            raise InvalidError(f"--keep {text}: no such rule; {_EXAMPLE}")
        if rule in found:
            raise InvalidError(f"--keep {rule}=… is given twice; {_EXAMPLE}")
        found[rule] = number
    return Keep(**found, best=tuple(best))


def _count(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[1-9]\d{0,17}", text) else None


def saved_checkpoints(
    layout: StoreLayout, store: _core.ChunkStore, run: str, rank: int = 0
) -> list[Saved]:
    """Return the checkpoints of a rank of a run, by number; raises CorruptError."""
    found = []
    for path in layout.checkpoint_paths(run, rank):
        with contextlib.suppress(NotFoundError):  # dropped meanwhile by its own run
            found.append(_saved(store, run, rank, path))
    return found


def _saved(store: _core.ChunkStore, run: str, rank: int, path: Path) -> Saved:
    reader = _core.CheckpointReader(store, str(path))
    meta = json.loads(bytes(reader.meta) or b"{}")
    context = meta.get("context") or []
    return Saved(
        run,
        rank,
        int(path.stem),
        path,
        str(meta.get("boundary", "")),
        str(meta.get("loop", "")),
        int(context[-1][1]) if context else None,
        reader.time,
        frozenset(one for ref in manifest_references(store, path) for one in chunk_ids(ref)),
    )


def kept_by_rules(
    layout: StoreLayout, saved: list[Saved], keep: Keep
) -> tuple[set[Path], list[str]]:
    """Return which checkpoints of one run ``last``, ``every`` and ``best`` keep, and remarks."""
    fixed = always_kept(saved)
    if not (keep.last or keep.every or keep.best):
        return {one.path for one in saved}, []
    kept, notes = set(fixed), []
    if keep.last:
        for kind in {(one.boundary, one.loop) for one in saved}:
            mine = [one for one in saved if (one.boundary, one.loop) == kind]
            kept |= {one.path for one in mine[-keep.last :]}
    if keep.every:
        kept |= {
            one.path
            for one in saved
            if one.iteration is not None and one.iteration % keep.every == 0
        }
    for best in keep.best:
        found = _best(layout, saved, best)
        if found is None:  # better too much than the wrong one
            kept |= {one.path for one in saved}
            if saved:
                notes.append(f"run {saved[0].run} has no value of {best.metric}: all of it stays")
        else:
            kept |= found
    return kept, notes


def always_kept(saved: list[Saved]) -> set[Path]:
    """Return the entry and the newest of one run."""
    newest = max(saved, key=lambda one: one.number, default=None)
    return {one.path for one in saved if one.boundary == "entry" or one is newest}


def _best(layout: StoreLayout, saved: list[Saved], best: Best) -> set[Path] | None:
    """Return the checkpoints of the best iteration that has one; None where there is no value."""
    values = _metric(layout, saved, best.metric) if saved else {}
    there = {one.iteration for one in saved} & values.keys()
    if not there:
        return None
    choose = max if best.greatest else min
    chosen = choose(sorted(there, key=str), key=lambda iteration: values[iteration])
    return {one.path for one in saved if one.iteration == chosen}


def _metric(layout: StoreLayout, saved: list[Saved], name: str) -> dict[int | None, float]:
    """Return the last value of a metric in each iteration of the main loop; NaN is no value."""
    run = saved[0].run
    records = load_records(layout, run, Blobs(layout.root)).named([name])
    mains = [one.loop for one in saved if one.boundary in ("iteration", "step")]
    main = mains[0] if mains else None
    numbers = records.values().numbers().to_pylist()
    found: dict[int | None, float] = {}
    for row, value in zip(
        records.table.select(["context", "rank"]).to_pylist(), numbers, strict=True
    ):
        places = [step["index"] for step in row["context"] if step["loop"] == main]
        if places and row["rank"] == 0 and value is not None and value == value:
            found[places[0]] = float(value)
    return found


def within_bytes(
    kept: list[Saved], fixed: set[Path], sizes: dict[bytes, int], budget: int
) -> set[Path]:
    """Return which of ``kept``, of any number of runs, fit in ``budget`` bytes, newest first.

    ``fixed`` stay in any case and count first. A chunk that several name counts once; ``sizes``:
    its bytes on disk.
    """
    counted: set[bytes] = set()
    total, stay = 0, set(fixed)
    for one in sorted(kept, key=lambda one: (one.path not in fixed, -one.time, -one.number)):
        fresh = one.chunks - counted
        more = sum(sizes.get(chunk, 0) for chunk in fresh)
        if one.path not in fixed and total + more > budget:
            continue
        counted |= fresh
        total += more
        stay.add(one.path)
    return stay
