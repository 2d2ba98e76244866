"""``flor stats``: where the bytes of a store are, and what each mechanism saved.

Sizes are followed from what was captured down to the disk: a checkpoint names a chunk several
times, other checkpoints of its run name it, other runs do; what is left is stored once, encoded.
Each step's difference is what that mechanism saved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flor import _core
from flor.layout import StoreLayout
from flor.query.summary import folder_bytes
from flor.upkeep.check import PLACE
from flor.upkeep.references import Owner, references

CODECS = ("raw", "lz4", "zstd", "planes", "difference")
Codes = np.ndarray[Any, np.dtype[np.int64]]


class _Chunks:
    """The distinct chunks of a store, numbered; of several copies the smallest counts."""

    def __init__(self, store: _core.ChunkStore) -> None:
        places = np.frombuffer(store.places(), PLACE)
        # Files from several processes: the same chunk may be there twice.
        places = places[np.lexsort((places["stored"], places["id"]))]
        self.ids, first = np.unique(places["id"], return_index=True)
        self.raw = places["raw"][first].astype(np.int64)
        self.stored = places["stored"][first].astype(np.int64)
        self.codec = places["codec"][first]
        self.all_stored = int(places["stored"].sum(dtype=np.int64))

    def codes(self, ref: bytes) -> Codes:
        """Return the numbers of the chunks of a reference; those that are lost are left out."""
        named = np.frombuffer(ref, "S17", offset=8)
        if not len(self.ids):
            return np.zeros(0, np.int64)
        at = np.minimum(np.searchsorted(self.ids, named), len(self.ids) - 1)
        codes: Codes = at[self.ids[at] == named]
        return codes


@dataclass
class _Tally:
    """What references name: bytes of content in all, and each chunk once."""

    content: int = 0
    _parts: list[Codes] = field(default_factory=lambda: [np.zeros(0, np.int64)])

    def add(self, chunks: _Chunks, codes: Codes) -> None:
        self.content += int(chunks.raw[codes].sum())
        self._parts.append(np.unique(codes))
        if len(self._parts) > 64:  # many references name mostly the same
            self._parts = [self.seen]

    @property
    def seen(self) -> Codes:
        return np.unique(np.concatenate(self._parts))


@dataclass
class _Run:
    checkpoints: int = 0
    content: int = 0  # bytes of states
    apart: int = 0  # of each checkpoint each chunk once
    states: _Tally = field(default_factory=_Tally)
    all: _Tally = field(default_factory=_Tally)


class _Usage:
    def __init__(self, layout: StoreLayout, store: _core.ChunkStore) -> None:
        self.layout, self.store = layout, store
        self.chunks = _Chunks(store)
        self.runs = {run: _Run() for run in layout.run_ids()}
        self.kinds: dict[str, _Tally] = {}
        self.live = _Tally()

    def read(self) -> None:
        for owner, refs in references(self.layout, self.store):
            parts = [self.chunks.codes(ref) for ref in refs]
            codes = np.concatenate(parts) if parts else np.zeros(0, np.int64)
            self._add(owner, codes)

    def _add(self, owner: Owner, codes: Codes) -> None:
        self.live.add(self.chunks, codes)
        kind = {
            "checkpoint": "checkpoints",
            "version": "versions",
            "log": "values",
            "intermediates": "intermediates",
        }
        tally = self.kinds.setdefault(kind.get(owner.kind, "folders"), _Tally())
        tally.add(self.chunks, codes)
        run = self.runs.get(owner.run or "")
        if run is None:
            return
        run.all.add(self.chunks, codes)
        if owner.kind == "checkpoint":
            run.checkpoints += 1
            run.content += int(self.chunks.raw[codes].sum())
            run.apart += int(self.chunks.raw[np.unique(codes)].sum())
            run.states.add(self.chunks, codes)

    def raw(self, codes: Codes) -> int:
        return int(self.chunks.raw[codes].sum())

    def stored(self, codes: Codes) -> int:
        return int(self.chunks.stored[codes].sum())

    def saved(self) -> dict[str, int]:
        runs = self.runs.values()
        content = sum(run.content for run in runs)
        apart = sum(run.apart for run in runs)
        by_run = sum(self.raw(run.states.seen) for run in runs)
        every = np.unique(np.concatenate([run.states.seen for run in runs] or [self.live.seen[:0]]))
        return {
            "within_checkpoints": content - apart,
            "across_checkpoints": apart - by_run,
            "across_runs": by_run - self.raw(every),
            "compression": self.raw(every) - self.stored(every),
        }

    def codecs(self) -> list[dict[str, Any]]:
        rows = []
        for number, name in enumerate(CODECS):
            mine = np.flatnonzero(self.chunks.codec == number)
            if len(mine):
                rows.append(
                    {
                        "codec": name,
                        "chunks": len(mine),
                        "content": self.raw(mine),
                        "stored": self.stored(mine),
                    }
                )
        return rows

    def run_rows(self) -> list[dict[str, Any]]:
        """Return a row a run; ``own``: stored bytes of chunks that nothing else names."""
        users = np.zeros(len(self.chunks.ids), np.int64)
        for run in self.runs.values():
            users[run.all.seen] += 1
        rows = []
        for name, run in self.runs.items():
            mine = run.all.seen
            rows.append(
                {
                    "run": name,
                    "log": folder_bytes(self.layout.log_dir(name)),
                    "replays": folder_bytes(self.layout.replays_dir(name)),
                    "checkpoints": run.checkpoints,
                    "raw": run.content,
                    "stored": self.stored(mine),
                    "own": self.stored(mine[users[mine] == 1]),
                }
            )
        return rows


def store_usage(layout: StoreLayout) -> dict[str, Any]:
    """Return where the bytes of a store are, in bytes; reads every log and manifest.

    ``pack_bytes`` of files: ``live`` stored bytes of chunks that something names, the rest is
    ``dead`` (with copies, and what packs need for themselves). ``kinds``: what each kind of
    owner names, ``content`` bytes, in ``stored`` bytes (a chunk of two kinds counts in both).
    ``saved``: bytes of states that needed no room, by mechanism. Raises CorruptError.
    """
    store = _core.ChunkStore(str(layout.root), readonly=True)
    try:
        usage = _Usage(layout, store)
        usage.read()
    finally:
        store.close()
    chunks, pack_bytes = usage.chunks, folder_bytes(Path(layout.root, "packs"))
    live = usage.stored(usage.live.seen)
    return {
        "store": str(layout.root),
        "packs": len(store_packs(layout)),
        "pack_bytes": pack_bytes,
        "live": live,
        "dead": pack_bytes - live,
        "chunks": len(chunks.ids),
        "chunk_raw": int(chunks.raw.sum()),
        "chunk_stored": chunks.all_stored,
        "versions": folder_bytes(layout.root / "versions"),
        "kinds": [
            {"kind": kind, "content": tally.content, "stored": usage.stored(tally.seen)}
            for kind, tally in usage.kinds.items()
        ],
        "saved": usage.saved(),
        "codecs": usage.codecs(),
        "runs": usage.run_rows(),
    }


def store_packs(layout: StoreLayout) -> list[Path]:
    """Return the packs of a store."""
    return sorted((layout.root / "packs").glob("*.pack"))
