"""Ten successive checkpoints: what a run leaves in its store, and what is left of it later."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from flor.bench.harness import BenchError, Figures
from flor.bench.suites.codec_peers import Codec
from flor.bench.suites.codec_sets import COUNT, ROLES, Array, load, monotone

MB = 1e6


def kept_by_flor(folder: Path, states: Path, name: str, small: bool) -> Figures:
    """Checkpoint the states into a store; return what its packs take, after ``gc --small`` if so.

    encode: of the checkpoints until each is durable, or of storing them anew.
    """
    import flor

    root = folder / "store"
    state = {role: values.copy() for role, values in load(states, name, 0).items()}
    raw = COUNT * sum(values.nbytes for values in state.values())
    begin = time.perf_counter()
    with flor.Checkpointer(root, {"state": state}) as checkpointer:
        for k in range(COUNT):
            for role, values in load(states, name, k).items():
                state[role][:] = values
            checkpointer.save().wait()
    taken = time.perf_counter() - begin
    if small:
        taken = _store_anew(root)
    packed = sum(path.stat().st_size for path in root.glob("packs/*.pack"))
    return {"ratio": raw / packed, "encode": raw / MB / taken}


def _store_anew(root: Path) -> float:
    from flor.layout import StoreLayout
    from flor.upkeep.collect import collect
    from flor.upkeep.keep import Keep

    layout = StoreLayout.open(root)
    begin = time.perf_counter()
    if not collect(layout, layout.run_ids(), Keep(), small=True).recoded_chunks:
        raise BenchError("gc --small stored nothing anew")
    return time.perf_counter() - begin


def kept_by_peer(folder: Path, states: Path, name: str, make: Callable[[], Codec]) -> Figures:
    """The same in memory: each state plain or as the difference to the one before."""
    codec = make()
    raw = stored = 0
    seconds = 0.0
    before: dict[str, Array] = {}
    for k in range(COUNT):
        now = load(states, name, k)
        for role in ROLES:
            used, took = _shortest(codec, now[role], before.get(role))
            raw, stored, seconds = raw + now[role].nbytes, stored + used, seconds + took
        before = now
    return {"ratio": raw / stored, "encode": raw / MB / seconds}


def _shortest(codec: Codec, values: Array, before: Array | None) -> tuple[int, float]:
    """Bytes of the better way, and the seconds that it took."""
    nothing = np.zeros_like(values)
    ways = [(values, nothing)]
    if before is not None and codec.takes_base:
        ways.append((values, before))
    elif before is not None:
        ways.append((monotone(values) - monotone(before), nothing))
    found = []
    for given, base in ways:
        begin = time.perf_counter()
        size = len(codec.encode(given, base))
        found.append((size, time.perf_counter() - begin))
    return min(found)
