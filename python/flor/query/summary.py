"""What a run holds: its records by name; the bytes of folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flor.layout import StoreLayout
from flor.query.kinds import FLOAT, INT, KIND_NAMES
from flor.query.records import INTERNAL, load_records
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
