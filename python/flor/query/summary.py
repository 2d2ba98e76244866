"""What a run holds: its records by name, and where the bytes of a store are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flor.layout import StoreLayout
from flor.query.kinds import FLOAT, INT, KIND_NAMES
from flor.query.records import INTERNAL, load_records
from flor.query.run_tables import checkpoint_rows
from flor.query.store import Blobs


@dataclass
class NameSummary:
    """The records of one name: how many, of which kinds and origins, and the numbers in order."""

    name: str
    count: int
    kinds: list[str]
    replayed: int
    numbers: list[float]


def names_of(layout: StoreLayout, run: str) -> list[NameSummary]:
    """Return what a run (exact id) logged, by name in order of first appearance; ``numbers`` holds
    the values of rank 0 where all of a name are numbers, else nothing."""
    records = load_records(layout, run, Blobs(layout.root))
    encoded = records.table["name"].combine_chunks().dictionary_encode()
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
    kinds = records.table["kind"].to_numpy()
    numbers = np.asarray(records.values().numbers().to_numpy(zero_copy_only=False), np.float64)
    first_rank = records.ints("rank") == 0
    summaries = []
    for code, name in enumerate(encoded.dictionary.to_pylist()):
        if name.startswith(INTERNAL):
            continue
        mine = codes == code
        used = np.unique(kinds[mine])
        numeric = bool(np.isin(used, (INT, FLOAT)).all())
        summaries.append(
            NameSummary(
                name,
                int(mine.sum()),
                [KIND_NAMES[kind] for kind in used],
                int((mine & records.replayed).sum()),
                numbers[mine & first_rank].tolist() if numeric else [],
            )
        )
    return summaries


def folder_bytes(folder: Path, pattern: str = "**/*") -> int:
    """Return how many bytes the files of a folder take on disk (sparse ones: what is allocated)."""
    total = 0
    for path in folder.glob(pattern):
        try:
            status = path.lstat()
        except FileNotFoundError:  # a segment just renamed
            continue
        if path.is_file():
            total += min(status.st_size, status.st_blocks * 512)
    return total


def store_stats(layout: StoreLayout) -> dict[str, Any]:
    """Return where the bytes are: packs (chunks, raw and stored), and a dict a run.

    A run has: run, log (bytes on disk), replays (bytes on disk), checkpoints (number), raw (bytes
    of the states), stored (bytes they added to the packs).
    """
    from flor import _core

    chunks = _core.ChunkStore(str(layout.root), readonly=True).stats()
    runs = []
    for run in layout.run_ids():
        rows = checkpoint_rows(layout, run)
        runs.append(
            {
                "run": run,
                "log": folder_bytes(layout.log_dir(run)),
                "replays": folder_bytes(layout.replays_dir(run)),
                "checkpoints": len(rows),
                "raw": sum(row["bytes"] for row in rows),
                "stored": sum(row["stored"] for row in rows),
            }
        )
    return {
        "store": str(layout.root),
        "packs": chunks["packs"],
        "pack_bytes": folder_bytes(layout.root / "packs"),
        "chunks": chunks["chunks"],
        "chunk_raw": chunks["raw_bytes"],
        "chunk_stored": chunks["stored_bytes"],
        "versions": folder_bytes(layout.root / "versions"),
        "runs": runs,
    }
