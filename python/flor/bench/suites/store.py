"""Getting things back: a store of a million chunks, a checkpoint, one tensor, a log."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from flor import _core
from flor.bench.apart import apart
from flor.bench.harness import BenchError, Experiment, Figure, Figures
from flor.bench.peers import Peer
from flor.bench.suites import Plan, store_restore, store_tables

QUESTION = "What does it take to get something back out of a store?"
UNFAIR = """
Everything is in the page cache. flor decodes differences and proves every chunk by the hash of its
content; the peers read plain bytes (zarr: Zstandard, its default) and check nothing but what their
container checks. flor restores random states and aliases too. "into live objects": the
model and the optimizer exist, as in a program that goes on; "torch.load, alone" stops before that.
safetensors and torch.load with mmap=True read lazily, so they are timed with the copy. The log's
peers hold the plain table, flor what a training wrote, contexts included.
"""

LOOKUPS = 20_000
NOTHING = bytes(8)  # a reference to no content


def make_chunks(folder: Path, root: Path, count: int) -> Figures:
    """Write a store of so many chunks of 16 bytes: what is measured depends on their number."""
    root.mkdir()
    (root / "flor.json").write_text("{}")
    store = _core.ChunkStore(str(root))
    refs = [store.put(number.to_bytes(16, "little")) for number in range(count)]
    store.close()
    sample = random.Random(1).sample(refs, min(LOOKUPS, count))
    (root / "sample").write_bytes(b"".join(sample))
    (root / "length").write_text(str(len(sample[0])))
    return {}


def _anonymous_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def open_and_look_up(folder: Path, root: Path, use_index: bool) -> Figures:
    """Open the store; ask for random chunks; the call itself, with a reference to nothing, is off.

    The memory is anonymous: the index file is mapped, and its pages belong to the page cache.
    """
    length = int((root / "length").read_text())
    sample = (root / "sample").read_bytes()
    refs = [sample[i : i + length] for i in range(0, len(sample), length)]
    before, begin = _anonymous_mb(), time.perf_counter()
    store = _core.ChunkStore(str(root), readonly=True, use_index=use_index)
    opened = time.perf_counter() - begin
    memory = _anonymous_mb() - before
    for ref in refs:  # the first touch of each page of the mapping is not the look-up's
        store.contains(ref)
    begin = time.perf_counter()
    known = sum(map(store.contains, refs))
    looked = time.perf_counter() - begin
    if known != len(refs):
        raise BenchError(f"{len(refs) - known} of {len(refs)} chunks are not found")
    begin = time.perf_counter()
    for _ in refs:
        store.contains(NOTHING)
    call = time.perf_counter() - begin
    store.close()
    return {
        "open": opened * 1e3,
        "look-up": max(0.0, looked - call) / len(refs) * 1e6,
        "memory": max(0.0, memory),
    }


def experiments(plan: Plan) -> Iterator[Experiment]:
    """Yield: the index; a checkpoint; one tensor; a log."""
    yield from _index(plan)
    yield from store_restore.experiments(plan)
    yield from store_tables.experiments(plan)


def _index(plan: Plan) -> Iterator[Experiment]:
    title = "Chunks by name"
    if not plan.wants(title):
        return
    root, count = plan.scratch / "chunks", 50_000 if plan.quick else 1_000_000
    apart(make_chunks, plan.scratch, root=root, count=count)()
    size = (root / "chunks.index").stat().st_size / 2**20
    yield plan.experiment(
        title,
        f"A store of {count:,} chunks: opened, and asked for random ones.",
        [Figure("open", "ms"), Figure("look-up", "us"), Figure("memory", "MB")],
        [
            Peer("index file", open_and_look_up, given={"use_index": True}, ours=True),
            Peer("packs alone", open_and_look_up, given={"use_index": False}, ours=True),
        ],
        (2, 7),
        base="index file",
        notes=[f"the index file has {size:.1f} MB"],
        root=root,
    )
    shutil.rmtree(root)
