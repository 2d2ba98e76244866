"""``flor fsck``: reads everything in a store again and says what is damaged, by name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flor import _core
from flor.errors import FlorError, NotFoundError
from flor.files import read_json
from flor.layout import StoreLayout, run_status
from flor.query.run_log import read_log_table
from flor.upkeep.bar import Tell
from flor.upkeep.known import KnownLosses
from flor.upkeep.references import (
    Owner,
    catalogue_problems,
    catalogue_references,
    chunk_ids,
    intermediates,
    json_files,
    json_references,
    log_folders,
    log_references,
    manifest_references,
    manifests,
    run_folders,
)

PLACE = np.dtype(
    [
        ("id", "S17"),
        ("codec", "u1"),
        ("pack", "<u4"),
        ("offset", "<u8"),
        ("stored", "<u4"),
        ("raw", "<u4"),
    ]
)


@dataclass
class Damage:
    """One damaged part of the store: what is wrong, and which other parts depend on it."""

    kind: str  # pack, checkpoint, version, run, log, replay, index, other
    path: Path
    what: str
    run: str | None = None
    depends: list[str] = field(default_factory=list)


@dataclass
class Findings:
    """What a check found. ``lost``: chunks that something names and no whole copy is left of."""

    damages: list[Damage] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lost: set[bytes] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str) -> None:
        """Count a part that was checked."""
        self.counts[kind] = self.counts.get(kind, 0) + 1

    def of_kind(self, *kinds: str) -> list[Damage]:
        """Return the damaged parts of these kinds."""
        return [damage for damage in self.damages if damage.kind in kinds]


def check(layout: StoreLayout, tell: Tell | None = None) -> Findings:
    """Read every pack, chunk, manifest, log and JSON file of a store; changes nothing.

    ``tell(done, total)`` hears of the bytes of chunks. Raises NewerFormatError, StorageError.
    """
    store = _core.ChunkStore(str(layout.root), readonly=True, use_index=False)
    try:
        return _Check(layout, store).run(tell)
    finally:
        store.close()


class _Check:
    def __init__(self, layout: StoreLayout, store: _core.ChunkStore) -> None:
        self.layout, self.store = layout, store
        self.found = Findings()
        self.known = KnownLosses.of(layout)
        self.whole: set[bytes] = set()
        self.needed: dict[bytes, list[str]] = {}  # chunks that can't be read: who names them

    def run(self, tell: Tell | None) -> Findings:
        problems = self.store.verify(tell)
        self._read_places(problems)
        for owner in manifests(self.layout):
            self._manifest(owner)
        for run in run_folders(self.layout):
            self._run(run)
        for owner in intermediates(self.layout):
            self._catalogue(owner)
        for owner in json_files(self.layout):
            self._json(owner)
        self._packs(problems)
        if problem := self.store.index_problem():
            self._damage("index", self.layout.root / "chunks.index", problem)
        return self.found

    def _read_places(self, problems: list[dict[str, Any]]) -> None:
        packed = self.store.places()
        known = {packed[at : at + 17] for at in range(0, len(packed), PLACE.itemsize)}
        texts = {problem["id"] for problem in problems if problem["id"] and not problem["covered"]}
        bad = {one for one in known if _core.ChunkStore.id_text(one) in texts} if texts else set()
        self.whole = known - bad
        self.found.counts["chunks"] = len(known)
        self.found.counts["packs"] = len(self.store.packs())

    def _damage(self, kind: str, path: Path, what: object, run: str | None = None) -> None:
        self.found.damages.append(Damage(kind, path, str(what), run))

    def _names(self, owner: Owner, refs: Iterable[bytes]) -> int:
        """Note what an owner names and can't be read; return how many chunks, known losses too."""
        gone = {one for ref in refs for one in chunk_ids(ref)} - self.whole
        for one in gone:
            self.needed.setdefault(one, []).append(str(owner))
        self.found.lost |= gone
        return len(gone)

    def _manifest(self, owner: Owner) -> None:
        self.found.count("checkpoints")
        try:
            gone = self._names(owner, manifest_references(self.store, owner.path))
        except NotFoundError:
            return  # dropped meanwhile by its own run
        except FlorError as error:
            self._damage("checkpoint", owner.path, error, owner.run)
            return
        if gone:
            self._damage("checkpoint", owner.path, f"{gone} of its chunks can't be read", owner.run)

    def _blobs(self, owner: Owner, refs: Iterable[bytes]) -> None:
        """Damage of what is no checkpoint: chunks whose loss an earlier repair knew are notes."""
        before = set(self.found.lost)
        if not self._names(owner, refs):
            return
        mine = {one for one, names in self.needed.items() if str(owner) in names}
        fresh = mine - self.known.chunks
        if fresh:
            text = f"{len(fresh)} chunks that it names can't be read"
            self._damage(owner.kind, owner.path, text, owner.run)
        else:
            self.found.notes.append(f"{owner}: {len(mine)} chunks are lost, as known")
        self.found.lost = before | mine

    def _run(self, run: str) -> None:
        folder = self.layout.run_dir(run)
        self.found.count("runs")
        meta: dict[str, Any] = {}
        try:
            meta = self.layout.read_run(run)
            if meta.get("run", run) != run or not isinstance(meta.get("status", ""), str):
                self._damage("run", folder / "run.json", "it is not of this run", run)
        except NotFoundError:
            if any(folder.glob("checkpoints/*.ckpt")) or any(folder.glob("log/*")):
                self._damage("run", folder / "run.json", "it is not there", run)
        except FlorError:
            pass  # told with the other JSON files
        version = meta.get("version")
        if version and not self.layout.version_path(version).exists():
            path = self.layout.version_path(version)
            text = f"it is not there: run {run} has no source and can't be replayed"
            if str(path.relative_to(self.layout.root)) in self.known.paths:
                self.found.notes.append(f"version {version} is lost, as known")
            else:
                self._damage("version", path, text, run)
        for log in log_folders(self.layout, run):
            self._log(run, log, meta)

    def _log(self, run: str, folder: Path, meta: dict[str, Any]) -> None:
        self.found.count("logs")
        own = folder == self.layout.log_dir(run)
        kind = "log" if own else "replay"
        if not own and run_status(meta) == "running":
            return  # the work of a replay that goes on
        path = folder if own else folder.parent
        try:
            table = read_log_table(folder)
        except FlorError as error:
            known = meta.get("log_damage") if own else None
            records = _core.read_log(str(folder), tolerant=True)
            if known and _no_worse(records, known):
                told = f"log of run {run}: {known['blocks']} blocks lost, as known"
                self.found.notes.append(told)
            else:
                self._damage(kind, path, error, run)
            table = read_log_table(folder, tolerant=True)
        try:
            self._blobs(Owner(kind, path, run), list(log_references(self.store, table)))
        except (FlorError, ValueError, KeyError) as error:
            self._damage(kind, path, error, run)

    def _catalogue(self, owner: Owner) -> None:
        try:
            for problem in catalogue_problems(owner):
                self._damage(owner.kind, owner.path, problem)
            self._blobs(owner, catalogue_references(owner))
        except FlorError as error:
            self._damage(owner.kind, owner.path, error)

    def _json(self, owner: Owner) -> None:
        self.found.count("files")
        try:
            content = read_json(owner.path)
        except FlorError as error:
            if owner.path.exists() and "work" not in owner.path.parts:
                self._damage(owner.kind, owner.path, error, owner.run)
            return
        self._blobs(owner, list(json_references(content)))

    def _packs(self, problems: list[dict[str, Any]]) -> None:
        needed = {_core.ChunkStore.id_text(one): names for one, names in self.needed.items()}
        for path in dict.fromkeys(problem["path"] for problem in problems):
            mine = [problem for problem in problems if problem["path"] == path]
            first = mine[0]
            more = f" (and {len(mine) - 1} more)" if len(mine) > 1 else ""
            chunk = f"chunk {first['id']}: " if first["id"] else ""
            what = f"at byte {first['offset']}: {chunk}{first['problem']}{more}"
            names = [name for problem in mine for name in needed.get(problem["id"], [])]
            damage = Damage("pack", Path(path), what, depends=list(dict.fromkeys(names)))
            self.found.damages.insert(0, damage)


def _no_worse(records: _core.LogRecords, known: dict[str, Any]) -> bool:
    """Whether a damaged log has lost no more than a repair noted."""
    return bool(records.dropped_blocks <= known["blocks"] and len(records) >= known["left"])
