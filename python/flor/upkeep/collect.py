"""``flor gc``: drops checkpoints by keep rules, then gives back the bytes that nothing names.

Safe while runs write and replays read: a run that a process uses keeps all its checkpoints, a pack
that a process writes or relies on is left alone. The order is what makes it so: first manifests go,
then the packs are locked (``Sweeper``), and only then is read what names chunks. See
docs/format_store.md, "Removing packs".
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flor import _core
from flor.errors import CorruptError, NotFoundError
from flor.files import storage_error
from flor.intermediate.storage.catalogue import Catalogue
from flor.layout import StoreLayout
from flor.runlock import alone_with_run
from flor.upkeep.bar import Tell
from flor.upkeep.check import PLACE
from flor.upkeep.keep import (
    Keep,
    Saved,
    always_kept,
    kept_by_rules,
    saved_checkpoints,
    within_bytes,
)
from flor.upkeep.references import intermediates, manifest_references, references


@dataclass
class Collected:
    """What a collection did, or with ``dry`` would do."""

    dry: bool
    dropped: list[Saved] = field(default_factory=list)
    kept: int = 0
    freed_bytes: int = 0
    recoded_chunks: int = 0
    packs: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def count(self, fate: str) -> int:
        """Return how many packs met this fate."""
        return sum(pack["fate"] == fate for pack in self.packs)


def collect(
    layout: StoreLayout,
    runs: list[str],
    keep: Keep,
    *,
    dry: bool = False,
    small: bool = False,
    tell: Tell | None = None,
) -> Collected:
    """Drop what ``keep`` does not keep of these runs (exact ids), then sweep the whole store.

    ``small``: each checkpoint of these runs that is stored as a difference becomes one to the
    checkpoint before it, where that takes less (not with ``dry``). ``tell(done, total)`` hears of
    the bytes that are copied. Raises CorruptError where something that names chunks can't be read,
    InvalidError while another collection is at work, StorageError.
    """
    done = Collected(dry)
    store = _core.ChunkStore(str(layout.root))
    try:
        if keep.any:
            _choose(layout, store, runs, keep, done)
        for run in runs:
            _drop(layout, run, done)
        if not dry:
            _forget_chunks(layout)
        _sweep(layout, store, done, runs if small and not dry else [], tell)
        if done.recoded_chunks:
            _sweep(layout, store, done, [], tell)  # bases that nothing needs any more
    finally:
        store.close()
    return done


def _choose(
    layout: StoreLayout, store: _core.ChunkStore, runs: list[str], keep: Keep, done: Collected
) -> None:
    every: list[Saved] = []
    stay: set[Path] = set()
    fixed: set[Path] = set()
    for run, rank in [(each, rank) for each in runs for rank in layout.ranks(each)]:
        saved = saved_checkpoints(layout, store, run, rank)
        kept, notes = kept_by_rules(layout, saved, keep)
        every += saved
        stay |= kept
        fixed |= always_kept(saved)
        done.notes += notes
    if keep.bytes is not None:
        left = [one for one in every if one.path in stay]
        stay = within_bytes(left, fixed, _sizes(store), keep.bytes)
    done.dropped = [one for one in every if one.path not in stay]
    done.kept = len(stay)


def _sizes(store: _core.ChunkStore) -> dict[bytes, int]:
    places = np.frombuffer(store.places(), PLACE)
    names = [bytes(one).ljust(17, b"\0") for one in places["id"]]
    return dict(zip(names, places["stored"].tolist(), strict=True))


def _drop(layout: StoreLayout, run: str, done: Collected) -> None:
    """Remove what was chosen of one run, unless a process uses it."""
    mine = [one for one in done.dropped if one.run == run]
    with alone_with_run(layout.run_dir(run)) as alone:
        if not alone and mine:
            done.notes.append(f"run {run} is in use: its checkpoints stay")
            done.dropped = [one for one in done.dropped if one.run != run]
            done.kept += len(mine)
        if alone and not done.dry:
            for folder in {one.path.parent for one in mine}:
                _remove_manifests(folder, [one for one in mine if one.path.parent == folder])
            _remove_unfinished(layout, run)


def _remove_manifests(folder: Path, dropped: list[Saved]) -> None:
    try:
        for one in dropped:
            one.path.unlink(missing_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # the names are gone for good before the chunks go
        finally:
            os.close(descriptor)
    except OSError as cause:
        raise storage_error(cause, folder, "remove checkpoints from") from cause


def _forget_chunks(layout: StoreLayout) -> None:
    """Take chunks of intermediates that were removed out of the catalogue, unless it is in use."""
    for owner in intermediates(layout):
        with alone_with_run(owner.path.parent) as alone:
            if alone:
                catalogue = Catalogue(owner.path.parent)
                try:
                    catalogue.purge()
                finally:
                    catalogue.close()


def _remove_unfinished(layout: StoreLayout, run: str) -> None:
    """Remove what replays left behind that were killed: they have no replay.json."""
    for folder in layout.replays_dir(run).glob("*"):
        if not (folder / "replay.json").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(
    layout: StoreLayout,
    store: _core.ChunkStore,
    done: Collected,
    small: list[str],
    tell: Tell | None,
) -> None:
    """Sweep; the checkpoints of the runs ``small`` are stored in fewer bytes."""
    sweeper = _core.Sweeper(store)
    gone = frozenset(one.path for one in done.dropped)
    for ref in _named(layout, store, gone):
        sweeper.mark(ref)
    for ref, neighbour in _neighbours(layout, store, small, gone):
        sweeper.pair(ref, neighbour)
    result = sweeper.plan() if done.dry else sweeper.sweep(tell)
    if not done.dry:
        store.renew_index()
    before = [pack for pack in done.packs if pack["fate"] in ("removed", "rewritten")]
    done.packs = before + [pack for pack in result["packs"] if pack["bytes"]]
    done.freed_bytes += result["freed_bytes"]
    done.recoded_chunks += result["recoded_chunks"]
    notes = []
    if result["lost_chunks"]:
        notes.append(
            f"{result['lost_chunks']} chunks that something names are in no pack: see flor fsck"
        )
    if done.count("damaged"):
        notes.append(f"{done.count('damaged')} packs are damaged and stay: see flor fsck")
    done.notes += [note for note in notes if note not in done.notes]  # there may be two sweeps


def _neighbours(
    layout: StoreLayout, store: _core.ChunkStore, runs: list[str], without: frozenset[Path]
) -> Iterator[tuple[bytes, bytes]]:
    """Yield each region of each checkpoint, and the same region of the one before it."""
    for run, rank in [(each, rank) for each in runs for rank in layout.ranks(each)]:
        before: list[bytes] = []
        for path in layout.checkpoint_paths(run, rank):
            if path in without:
                continue
            try:
                found = manifest_references(store, path)
            except NotFoundError:  # dropped meanwhile by its own run
                continue
            yield from zip(found, before, strict=False)
            before = found


def _named(
    layout: StoreLayout, store: _core.ChunkStore, without: frozenset[Path]
) -> Iterator[bytes]:
    try:
        for _, refs in references(layout, store, without):
            yield from refs
    except CorruptError as error:
        raise CorruptError(
            f"what the store needs is not known, so nothing was collected: {error}; "
            "flor fsck --repair comes first"
        ) from error
