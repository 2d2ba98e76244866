"""How long a store of a million chunks takes to open and to look one up, with and without index.

The chunks are 16 bytes each, so that a million of them fits anywhere: what is measured depends on
their number alone. "lookup_us" is `ChunkStore.contains` of a reference to one random chunk, called
from Python, less the same call with a reference to nothing, "call_us". "memory_mb" is anonymous
memory after the opening; the index file is mapped, "file_mb", its pages belong to the page cache.

Unfair: both opens find their files in the page cache.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

from benchmarks.harness import Report, Subject, compare, interleave, run_report
from flor import _core

LOOKUPS = 20_000
NOTHING = bytes(8)  # a reference to no content


def _anonymous_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def _make(root: Path, count: int) -> list[bytes]:
    (root / "flor.json").write_text("{}")
    store = _core.ChunkStore(str(root))
    refs = [store.put(number.to_bytes(16, "little")) for number in range(count)]
    store.close()
    return random.Random(1).sample(refs, LOOKUPS)


def _open(root: Path, refs: list[bytes], use_index: bool) -> dict[str, float]:
    before, begin = _anonymous_mb(), time.perf_counter()
    store = _core.ChunkStore(str(root), readonly=True, use_index=use_index)
    opened = time.perf_counter() - begin
    memory = _anonymous_mb() - before
    for ref in refs:  # the first touch of each page of the mapping is not the look-up's
        store.contains(ref)
    begin = time.perf_counter()
    known = sum(map(store.contains, refs))
    looked = time.perf_counter() - begin
    assert known == len(refs)
    begin = time.perf_counter()
    for _ in refs:
        store.contains(NOTHING)
    call = (time.perf_counter() - begin) / len(refs) * 1e6
    store.close()
    return {
        "open_ms": opened * 1e3,
        "lookup_us": looked / len(refs) * 1e6 - call,
        "call_us": call,
        "memory_mb": max(0.0, memory),
    }


def measure(quick: bool) -> Report:
    """Return the report; quick: a tenth of the chunks, fewer rounds."""
    count = 100_000 if quick else 1_000_000
    report = Report(
        "store_index", f"What does a store of {count:,} chunks take to open, to look up?"
    )
    with tempfile.TemporaryDirectory() as folder:
        refs = _make(Path(folder), count)
        subjects = [
            Subject("index file", lambda: _open(Path(folder), refs, True)),
            Subject("packs alone", lambda: _open(Path(folder), refs, False)),
        ]
        samples = interleave(subjects, 3 if quick else 7)
        for figure in ("open_ms", "lookup_us", "call_us", "memory_mb"):
            report.add(figure, compare(samples, figure, "packs alone", digits=2))
        size = (Path(folder) / "chunks.index").stat().st_size / 2**20
        report.notes.append(f"file_mb: {size:.1f}")
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
