"""The log of one run: the records that count.

A resumed run has been logged by several processes. What an earlier one wrote after the boundary
that was restored is *superseded*: the run went on from there once more. The last entry of
``resumes`` in run.json says how far each older writer counts (docs/format.md), and every reader of
a run's log comes through here.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from flor.layout import StoreLayout

Kept = dict[str, dict[str, int]]


def read_log_table(folder: Path, *, tolerant: bool = False) -> pa.Table:
    """Return a log folder whole, a row a record, in no useful order; raises CorruptError."""
    from flor import _core

    return pa.table(pa.record_batch(_core.read_log(str(folder), tolerant=tolerant)))


def read_run_log(layout: StoreLayout, run: str, *, tolerant: bool = False) -> pa.Table:
    """Return the records of a run (exact id) that count; raises CorruptError, StorageError."""
    folder = layout.log_dir(run)
    # A repair has noted which damage readers are to pass over (flor fsck).
    tolerant = tolerant or "log_damage" in layout.read_run(run)
    table = read_log_table(folder, tolerant=tolerant)
    # After the log: a resume says what it supersedes before it writes its first record.
    resumes = layout.read_run(run).get("resumes") or []
    return without_superseded(table, resumes[-1]["kept"]) if resumes else table


def without_superseded(table: pa.Table, kept: Kept) -> pa.Table:
    """Return the rows that count: of a writer and ring in ``kept`` those below its number, of a
    writer that is not in it all.
    """
    if not table.num_rows:
        return table
    writers = table["writer"].combine_chunks().dictionary_encode()
    codes = np.asarray(writers.indices.to_numpy(zero_copy_only=False), np.int64)
    rings = np.asarray(table["ring"].to_numpy(), np.int64)
    numbers = np.asarray(table["seq"].to_numpy(), np.int64)
    counts = np.ones(table.num_rows, np.bool_)
    for code, writer in enumerate(writers.dictionary.to_pylist()):
        limits = kept.get(writer)
        if limits is None:
            continue
        mine = codes == code
        for ring in np.unique(rings[mine]).tolist():
            counts &= ~(mine & (rings == ring) & (numbers >= limits.get(str(ring), 0)))
    return table if counts.all() else table.filter(pa.array(counts))


def kept_until(table: pa.Table, row: int | None) -> Kept:
    """Return how far each writer of ``table`` counts when the run goes on after ``row``.

    Of the row's own ring what comes before it and itself, of the other rings what is not younger;
    None: nothing counts. ``table`` holds the records that counted until now.
    """
    kept: Kept = {}
    if not table.num_rows:
        return kept
    writers = table["writer"].combine_chunks().dictionary_encode()
    codes = np.asarray(writers.indices.to_numpy(zero_copy_only=False), np.int64)
    rings = np.asarray(table["ring"].to_numpy(), np.int64)
    numbers = np.asarray(table["seq"].to_numpy(), np.int64)
    times = np.asarray(table["time"].to_numpy(), np.float64)
    for code, ring in np.unique(np.stack([codes, rings]), axis=1).T.tolist():
        mine = (codes == code) & (rings == ring)
        if row is None:
            mine[:] = False
        elif (codes[row], rings[row]) == (code, ring):
            mine &= numbers <= numbers[row]
        else:
            mine &= times <= times[row]
        last = int(numbers[mine].max(initial=-1))
        kept.setdefault(writers.dictionary[code].as_py(), {})[str(ring)] = last + 1
    return kept


def all_writers(table: pa.Table, kept: Kept) -> Kept:
    """Return ``kept`` with every writer of ``table`` in it: one that is missing counts not at all.

    ``table``: the whole log, superseded records too, so that these stay superseded.
    """
    return {name: kept.get(name, {}) for name in table["writer"].unique().to_pylist()}
