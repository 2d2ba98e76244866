"""Everything in a store that names chunks: what garbage collection keeps, what damage takes along.

Names of content are in manifests, in records of logs, in the catalogue of intermediates, and in
JSON files. The JSON files are read
without knowing their keys: every text that can be a name counts as one, so that a part of flor that
keeps a name in a new place need not be known here. Too much is kept then, never too little.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flor import _core
from flor.errors import CorruptError, FlorError, NotFoundError
from flor.files import read_json
from flor.intermediate.storage.catalogue import NAME, Catalogue, folder_of
from flor.layout import StoreLayout
from flor.query.kinds import ARRAY
from flor.query.run_log import read_log_table

CHUNK_BYTES, ID_BYTES = 65536, 17
# A user's own files, and what repair has set aside: nothing in them is flor's.
_FOREIGN = {"put-away", "scratch", "lost+found"}


@dataclass(frozen=True)
class Owner:
    """A part of the store that names chunks: a file, or the folder of a log."""

    kind: str  # checkpoint, version, run, replay, log, intermediates, other
    path: Path
    run: str | None = None

    def __str__(self) -> str:
        name = self.path.stem if self.kind == "checkpoint" else ""
        if self.kind == "checkpoint":
            return f"checkpoint {name} of run {self.run}"
        if self.kind == "version":
            return f"version {self.path.stem}"
        if self.kind == "run":
            return f"run {self.run}"
        if self.kind == "intermediates":
            return "the catalogue of intermediates"
        return f"{self.kind} {self.path.name if self.kind == 'other' else f'of run {self.run}'}"


def chunk_ids(ref: bytes) -> list[bytes]:
    """Return the names of the chunks that a reference is made of."""
    return [ref[at : at + ID_BYTES] for at in range(8, len(ref), ID_BYTES)]


def as_reference(text: str) -> bytes | None:
    """Return the reference that ``text`` is the hexadecimal form of; None for any other text."""
    if len(text) < 16 or len(text) % 2:
        return None
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return None
    chunks = -(-int.from_bytes(found[:8], "little") // CHUNK_BYTES)
    return found if len(found) == 8 + chunks * ID_BYTES else None


def json_references(content: Any) -> Iterator[bytes]:
    """Yield every reference among the texts of a JSON document."""
    todo = [content]
    while todo:
        item = todo.pop()
        if isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, list):
            todo.extend(item)
        elif isinstance(item, str) and (ref := as_reference(item)) is not None:
            yield ref


def manifest_references(store: _core.ChunkStore, path: Path) -> list[bytes]:
    """Return what a manifest names, a reference a region; raises CorruptError, NotFoundError."""
    reader = _core.CheckpointReader(store, str(path))
    return [reader.region_ref(index) for index in range(len(reader.regions))]


def log_references(store: _core.ChunkStore, table: pa.Table) -> Iterator[bytes]:
    """Yield what the records of a log name; raises CorruptError."""
    if not table.num_rows:
        return
    naming = pc.or_(pc.equal(table["kind"], ARRAY), table["external"])
    for row in table.filter(naming).select(["kind", "external", "data"]).to_pylist():
        data = row["data"]
        if row["external"]:
            yield data
        if row["kind"] == ARRAY:
            described = json.loads(store.get(data) if row["external"] else data)
            yield bytes.fromhex(described["ref"])


def log_folders(layout: StoreLayout, run: str) -> Iterator[Path]:
    """Yield the folders of a run that hold logs.

    Of a replay the work of its processes comes before its own log: it is moved that way.
    """
    yield layout.log_dir(run)
    for replay in sorted(layout.replays_dir(run).glob("*")):
        files = [*replay.glob("work/**/*.seg"), *replay.glob("work/**/*.ring")]
        yield from sorted({path.parent for path in files})
        yield replay / "log"


def read_log_of(layout: StoreLayout, run: str, folder: Path) -> pa.Table:
    """Return the log in ``folder``; one whose damage was repaired is read around it."""
    try:
        tolerant = folder == layout.log_dir(run) and "log_damage" in layout.read_run(run)
    except NotFoundError:
        tolerant = False
    try:
        return read_log_table(folder, tolerant=tolerant)
    except FlorError:
        if folder.exists():
            raise
        return read_log_table(folder)  # a replay that ended meanwhile: nothing is there now


def json_files(layout: StoreLayout) -> Iterator[Owner]:
    """Yield the JSON files of the store."""
    for path in sorted(layout.root.rglob("*.json")):
        parts = path.relative_to(layout.root).parts
        if _FOREIGN & set(parts):
            continue
        run = parts[1] if parts[0] == "runs" and len(parts) > 2 else None
        yield Owner(_kind_of(parts), path, run)


def _kind_of(parts: tuple[str, ...]) -> str:
    if parts[0] == "versions":
        return "version"
    if parts[0] == "runs" and "replays" in parts:
        return "replay"
    return "run" if parts[-1] == "run.json" else "other"


def manifests(layout: StoreLayout) -> Iterator[Owner]:
    """Yield the manifests of the store."""
    for path in sorted(layout.root.rglob("*.ckpt")):
        parts = path.relative_to(layout.root).parts
        if not _FOREIGN & set(parts):
            yield Owner("checkpoint", path, parts[1] if parts[0] == "runs" else None)


def intermediates(layout: StoreLayout) -> Iterator[Owner]:
    """Yield the catalogue of intermediates, where the store has one."""
    path = folder_of(layout) / NAME
    if path.exists():
        yield Owner("intermediates", path)


def catalogue_references(owner: Owner) -> list[bytes]:
    """Return what a catalogue names; raises CorruptError, NewerFormatError, StorageError."""
    catalogue = Catalogue(owner.path.parent, readonly=True)
    try:
        return catalogue.refs()
    finally:
        catalogue.close()


def catalogue_problems(owner: Owner) -> list[str]:
    """Return what is wrong with the file of a catalogue; raises what reading it does."""
    catalogue = Catalogue(owner.path.parent, readonly=True)
    try:
        return catalogue.problems()
    finally:
        catalogue.close()


def run_folders(layout: StoreLayout) -> list[str]:
    """Return the names of the runs' folders, also of those without a run.json."""
    return sorted(path.name for path in (layout.root / "runs").glob("*") if path.is_dir())


def references(
    layout: StoreLayout, store: _core.ChunkStore, without: frozenset[Path] = frozenset()
) -> Iterator[tuple[Owner, list[bytes]]]:
    """Yield all that names chunks, and what it names; ``without``: manifests left out.

    Raises CorruptError where something can't be read: what it names is not known.
    """
    for owner in manifests(layout):
        if owner.path not in without:
            try:
                yield owner, manifest_references(store, owner.path)
            except NotFoundError:
                continue  # dropped meanwhile by its own run
    for run in run_folders(layout):
        for folder in log_folders(layout, run):
            named = log_references(store, read_log_of(layout, run, folder))
            yield Owner("log", folder, run), list(named)
    for owner in intermediates(layout):
        yield owner, catalogue_references(owner)
    for owner in json_files(layout):
        try:
            yield owner, list(json_references(read_json(owner.path)))
        except FlorError as error:
            if not owner.path.exists():
                continue  # a replay's, removed meanwhile
            if not (isinstance(error, CorruptError) and "work" in owner.path.parts):
                raise
