"""The catalogue of kept intermediates: one SQLite file, ``intermediates/catalogue.sqlite``.

A distinct chunk is one row, with what is known of its values; an intermediate is one row, whose
list of chunks is compressed int32 ids. What names chunks is committed in one transaction after
their bytes were written: a process that is killed at any point loses what it had not committed.
docs/format_intermediates.md has the grammar.

Thread-safe: one connection, one lock. Several processes may use one catalogue: transactions that
write wait for each other.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import ClosedError, CorruptError, NewerFormatError, StorageError
from flor.files import storage_error
from flor.intermediate.forms import Form, Key, Part
from flor.layout import StoreLayout

FORMAT = 1
NAME = "catalogue.sqlite"
_WAIT_SECONDS = 60  # for the transaction of another process
_SCHEMA = """
CREATE TABLE content(id INTEGER PRIMARY KEY, ref BLOB NOT NULL UNIQUE);
CREATE TABLE chunk(
    id INTEGER PRIMARY KEY,
    identity BLOB NOT NULL UNIQUE,
    content INTEGER NOT NULL REFERENCES content(id),
    start INTEGER NOT NULL, length INTEGER NOT NULL,
    kind INTEGER NOT NULL, rows INTEGER NOT NULL,
    low REAL, high REAL, zeros INTEGER NOT NULL, nans INTEGER NOT NULL, error REAL NOT NULL,
    base INTEGER REFERENCES chunk(id), depth INTEGER NOT NULL DEFAULT 0,
    rowset INTEGER REFERENCES rowset(id), first INTEGER, sketch BLOB);
CREATE TABLE rowset(
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, count INTEGER NOT NULL, ids BLOB NOT NULL);
CREATE TABLE intermediate(
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL, layer TEXT NOT NULL, data TEXT NOT NULL, what TEXT NOT NULL,
    code TEXT NOT NULL, form TEXT NOT NULL, labels TEXT NOT NULL, parents TEXT NOT NULL,
    rowset INTEGER NOT NULL REFERENCES rowset(id),
    rows INTEGER NOT NULL, nbytes INTEGER NOT NULL, error REAL NOT NULL,
    seconds REAL, created REAL NOT NULL,
    blocks BLOB NOT NULL, chunks BLOB NOT NULL);
CREATE INDEX intermediate_key ON intermediate(model, layer, data, what);
CREATE TABLE interest(
    model TEXT NOT NULL, layer TEXT NOT NULL, data TEXT NOT NULL, what TEXT NOT NULL,
    reads REAL NOT NULL, updated REAL NOT NULL,
    PRIMARY KEY(model, layer, data, what)) WITHOUT ROWID;
CREATE TABLE fact(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass
class ChunkRow:
    """A distinct chunk: where its bytes are, and what is known of its values.

    ``low``, ``high``: of the true values, NaN where there is none. ``error``: of what it decodes
    to. ``base``: the identity of the chunk that it is a difference to.
    """

    identity: bytes
    ref: bytes
    start: int
    length: int
    kind: int
    rows: int
    low: float
    high: float
    zeros: int
    nans: int
    error: float
    base: bytes | None = None
    depth: int = 0
    first: int | None = None  # where in the rowset of the intermediate that brought it
    sketch: bytes | None = None


@dataclass
class Entry:
    """An intermediate to commit. ``identities``: of its chunks, block by block, part by part."""

    key: Key
    code: str
    form: Form
    rowset: bytes
    row_ids: NDArray[np.int64]
    block_rows: list[int]
    identities: list[bytes]
    nbytes: int
    error: float
    seconds: float | None
    created: float
    labels: dict[str, Any] = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)


def folder_of(layout: StoreLayout) -> Path:
    """Return the folder of a store that holds the catalogue."""
    return layout.root / "intermediates"


def form_text(form: Form) -> str:
    """Return a form as JSON."""
    parts = [[part.name, part.dtype, list(part.shape)] for part in form.parts]
    shape = None if form.unit_shape is None else list(form.unit_shape)
    if shape is not None and form == Form.tensor(tuple(shape), form.parts[0].dtype):
        return json.dumps({"tensor": shape, "dtype": form.parts[0].dtype})
    return json.dumps({"parts": parts, "unit_shape": shape})


def form_of(text: str) -> Form:
    """Return the form that :func:`form_text` wrote."""
    told = json.loads(text)
    if "tensor" in told:
        return Form.tensor(tuple(told["tensor"]), told["dtype"])
    parts = tuple(Part(name, dtype, tuple(shape)) for name, dtype, shape in told["parts"])
    shape = told["unit_shape"]
    return Form(parts, None if shape is None else tuple(shape))


def packed(numbers: Sequence[int] | NDArray[Any]) -> bytes:
    """Return int32 numbers compressed; differences, whose bytes are few."""
    array = np.asarray(numbers, np.int32)
    return zlib.compress(np.diff(array, prepend=np.int32(0)).astype("<i4").tobytes(), 9)


def unpacked(blob: bytes) -> NDArray[np.int32]:
    """Return what :func:`packed` took; raises CorruptError."""
    try:
        steps = np.frombuffer(zlib.decompress(blob), "<i4")
    except (zlib.error, ValueError) as cause:
        raise CorruptError(
            f"a list in the catalogue of intermediates is damaged: {cause}"
        ) from cause
    return np.cumsum(steps, dtype=np.int32)


class Catalogue:
    """The tables. Every method is a transaction of its own. Errors are flor's."""

    def __init__(self, folder: Path, *, readonly: bool = False) -> None:
        self.path = folder / NAME
        self._lock = threading.RLock()
        self._process = os.getpid()
        mode = "ro" if readonly else "rwc"
        try:
            if not readonly:
                folder.mkdir(parents=True, exist_ok=True)
            self._db: sqlite3.Connection | None = sqlite3.connect(
                f"{self.path.as_uri()}?mode={mode}", timeout=_WAIT_SECONDS, uri=True,
                isolation_level=None, check_same_thread=False,
            )  # fmt: skip
        except OSError as cause:
            raise storage_error(cause, folder, "make") from cause
        except sqlite3.Error as cause:
            raise StorageError(f"{self.path} can't be opened: {cause}") from cause
        self._prepare(readonly)

    def _prepare(self, readonly: bool) -> None:
        with self.reading() as db:
            found = db.execute("PRAGMA user_version").fetchone()[0]
        if found == 0 and not readonly:
            with self.writing() as db:
                if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _SCHEMA.split(";\n"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {FORMAT}")
        elif found > FORMAT:
            raise NewerFormatError(
                f"{self.path} has format {found}; this flor reads up to {FORMAT}: upgrade flor"
            )

    def close(self) -> None:
        """End all use. A second call does nothing."""
        with self._lock:
            if self._db is not None and self._process == os.getpid():
                self._db.close()
            self._db = None

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give the connection to one thread; maps errors of SQLite to those of flor."""
        with self._lock:
            if self._db is None or self._process != os.getpid():
                raise ClosedError("this store of intermediates is closed; open it again")
            try:
                yield self._db
            except sqlite3.DatabaseError as cause:
                raise self._error(cause) from cause

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give the connection inside of a transaction that is taken back when the block raises."""
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                db.execute("ROLLBACK")
                raise

    def _error(self, cause: sqlite3.DatabaseError) -> Exception:
        if type(cause) is sqlite3.DatabaseError:  # "malformed", "not a database"
            error: Exception = CorruptError(f"{self.path} is damaged: {cause}")
        else:
            error = StorageError(f"{self.path}: {cause}")
        error.path = str(self.path)  # type: ignore[attr-defined]
        return error

    # --- chunks

    def chunks(self, identities: Sequence[bytes]) -> dict[bytes, ChunkRow]:
        """Return those of these chunks that are known."""
        found = {}
        with self.reading() as db:
            for at in range(0, len(identities), 500):
                some = identities[at : at + 500]
                marks = ",".join("?" * len(some))
                for row in db.execute(f"{_CHUNK} WHERE c.identity IN ({marks})", some):
                    found[row[0]] = _chunk_row(row)
        return found

    def chunks_by_id(self, ids: NDArray[Any]) -> dict[int, ChunkRow]:
        """Return chunks by their numbers; raises CorruptError when one is not there."""
        wanted = [int(one) for one in np.unique(ids)]
        found = {}
        with self.reading() as db:
            for at in range(0, len(wanted), 500):
                some = wanted[at : at + 500]
                marks = ",".join("?" * len(some))
                for row in db.execute(f"{_CHUNK} WHERE c.id IN ({marks})", some):
                    found[row[-1]] = _chunk_row(row)
        if len(found) != len(wanted):
            missing = next(one for one in wanted if one not in found)
            raise CorruptError(f"{self.path}: chunk {missing} is named and is not in the catalogue")
        return found

    # --- intermediates

    def commit(self, entry: Entry, new: Sequence[ChunkRow]) -> int:
        """Write an intermediate and its new chunks, all or nothing; return its number.

        One of the same key, code and chunks is replaced: it was kept again.
        """
        with self.writing() as db:
            rowset = _put_rowset(db, entry)
            for chunk in new:
                _put_chunk(db, chunk, rowset)
            numbers = _numbers(db, entry.identities)
            same = (entry.key.model, entry.key.layer, entry.key.data, entry.key.what, entry.code)
            chunks = packed([numbers[one] for one in entry.identities])
            db.execute(
                f"DELETE FROM intermediate WHERE {_KEY} AND code=? AND rowset=? AND chunks=?",
                (*same, rowset, chunks),
            )  # fmt: skip
            row = (*same, form_text(entry.form), json.dumps(entry.labels),
                   json.dumps(entry.parents),
                   rowset, len(entry.row_ids), entry.nbytes, entry.error, entry.seconds,
                   entry.created, packed(entry.block_rows), chunks)  # fmt: skip
            cursor = db.execute(
                "INSERT INTO intermediate(model, layer, data, what, code, form, labels, parents,"
                " rowset, rows, nbytes, error, seconds, created, blocks, chunks)"
                " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", row,
            )  # fmt: skip
            return int(cursor.lastrowid or 0)

    def intermediates(self, **wanted: str | None) -> list[dict[str, Any]]:
        """Return the intermediates whose columns equal what is wanted (None: any), newest first."""
        names = [name for name, value in wanted.items() if value is not None]
        where = " AND ".join(f"{name}=?" for name in names) or "1"
        values = [wanted[name] for name in names]
        with self.reading() as db:
            cursor = db.execute(
                f"SELECT * FROM intermediate WHERE {where} ORDER BY created DESC, id DESC", values
            )
            columns = [one[0] for one in cursor.description]
            return [dict(zip(columns, row, strict=True)) for row in cursor]

    def intermediate(self, number: int) -> dict[str, Any]:
        """Return one of them; raises StorageError when it was removed meanwhile."""
        found = self.intermediates(id=str(number))
        if not found:
            raise StorageError("the intermediate was removed by another process")
        return found[0]

    def remove(self, number: int) -> None:
        """Forget an intermediate; its chunks stay until :meth:`purge`."""
        with self.writing() as db:
            db.execute("DELETE FROM intermediate WHERE id=?", (number,))

    def purge(self) -> int:
        """Forget the chunks that no intermediate names; return how many. REQUIRES: no writer."""
        with self.writing() as db:
            used = [unpacked(blob) for (blob,) in db.execute("SELECT chunks FROM intermediate")]
            keep = {int(one) for one in np.unique(np.concatenate(used or [np.zeros(0, np.int32)]))}
            every = dict(db.execute("SELECT id, base FROM chunk"))
            todo = list(keep)
            while todo:
                base = every.get(todo.pop())
                if base is not None and base not in keep:
                    keep.add(base)
                    todo.append(base)
            dead = [(one,) for one in every if one not in keep]
            db.executemany("DELETE FROM chunk WHERE id=?", dead)
            db.execute("DELETE FROM content WHERE id NOT IN (SELECT content FROM chunk)")
            db.execute(
                "DELETE FROM rowset WHERE id NOT IN (SELECT rowset FROM intermediate) AND id NOT IN"
                " (SELECT rowset FROM chunk WHERE rowset IS NOT NULL)"
            )
        return len(dead)

    def row_ids(self, rowset: int) -> NDArray[np.int64]:
        """Return the row ids of a set of rows."""
        with self.reading() as db:
            row = db.execute("SELECT count, ids FROM rowset WHERE id=?", (rowset,)).fetchone()
        if row is None:
            raise CorruptError(f"{self.path}: rows {rowset} are named and not in the catalogue")
        return unpack_row_ids(row[1], row[0])

    def refs(self) -> list[bytes]:
        """Return the references of all content that chunks lie in."""
        with self.reading() as db:
            return [row[0] for row in db.execute("SELECT ref FROM content")]

    # --- counters and facts

    def interest(self, key: Key, update: Any) -> float:
        """Set an intermediate's interest to update(interest, when it was last set); return it."""
        name = (key.model, key.layer, key.data, key.what)
        with self.writing() as db:
            row = db.execute(
                f"SELECT reads, updated FROM interest WHERE {_KEY}", name
            ).fetchone() or (0.0, 0.0)
            reads, now = update(*row)
            db.execute("INSERT OR REPLACE INTO interest VALUES (?,?,?,?,?,?)", (*name, reads, now))
        return float(reads)

    def interests(self) -> list[tuple[Key, float, float]]:
        """Return all counters: (key, reads, when last set)."""
        with self.reading() as db:
            rows = db.execute("SELECT * FROM interest").fetchall()
        return [(Key(*row[:4]), row[4], row[5]) for row in rows]

    def fact(self, name: str) -> Any:
        """Return a fact kept under that name, None when there is none."""
        with self.reading() as db:
            row = db.execute("SELECT value FROM fact WHERE name=?", (name,)).fetchone()
        return None if row is None else json.loads(row[0])

    def set_fact(self, name: str, value: Any) -> None:
        """Keep a JSON value under a name, in place of what was there."""
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO fact VALUES (?,?)", (name, json.dumps(value)))


_KEY = "model=? AND layer=? AND data=? AND what=?"
_CHUNK = (
    "SELECT c.identity, x.ref, c.start, c.length, c.kind, c.rows, c.low, c.high, c.zeros, c.nans,"
    " c.error, b.identity, c.depth, c.first, c.sketch, c.id FROM chunk c"
    " JOIN content x ON x.id = c.content LEFT JOIN chunk b ON b.id = c.base"
)


def _chunk_row(row: Sequence[Any]) -> ChunkRow:
    low, high = (float("nan") if value is None else value for value in row[6:8])
    return ChunkRow(*row[:6], low, high, *row[8:15])


def _put_rowset(db: sqlite3.Connection, entry: Entry) -> int:
    found = db.execute("SELECT id FROM rowset WHERE digest=?", (entry.rowset,)).fetchone()
    if found:
        return int(found[0])
    values = (entry.rowset, len(entry.row_ids), pack_row_ids(entry.row_ids))
    cursor = db.execute("INSERT INTO rowset(digest, count, ids) VALUES (?,?,?)", values)
    return int(cursor.lastrowid or 0)


def _put_chunk(db: sqlite3.Connection, chunk: ChunkRow, rowset: int) -> None:
    db.execute("INSERT OR IGNORE INTO content(ref) VALUES (?)", (chunk.ref,))
    db.execute(
        "INSERT OR IGNORE INTO chunk(identity, content, start, length, kind, rows, low, high, "
        "zeros, nans, error, base, depth, rowset, first, sketch) VALUES (?, (SELECT id FROM content"
        " WHERE ref=?), ?,?,?,?,?,?,?,?,?, (SELECT id FROM chunk WHERE identity=?), ?,?,?,?)",
        (chunk.identity, chunk.ref, chunk.start, chunk.length, chunk.kind, chunk.rows, chunk.low,
         chunk.high, chunk.zeros, chunk.nans, chunk.error, chunk.base, chunk.depth,
         None if chunk.first is None else rowset, chunk.first, chunk.sketch),
    )  # fmt: skip


def _numbers(db: sqlite3.Connection, identities: Sequence[bytes]) -> dict[bytes, int]:
    numbers: dict[bytes, int] = {}
    wanted = list(dict.fromkeys(identities))
    for at in range(0, len(wanted), 500):
        some = wanted[at : at + 500]
        marks = ",".join("?" * len(some))
        numbers.update(
            db.execute(f"SELECT identity, id FROM chunk WHERE identity IN ({marks})", some)
        )
    if len(numbers) != len(wanted):
        raise StorageError(
            "chunks that this intermediate shares were removed while it was written; write it again"
        )
    return numbers


def pack_row_ids(ids: NDArray[np.int64]) -> bytes:
    """Return row ids compressed: differences, byte by byte of all of them."""
    steps = np.diff(ids, prepend=np.int64(0)).astype("<i8")
    return zlib.compress(steps.view(np.uint8).reshape(-1, 8).T.tobytes(), 9)


def unpack_row_ids(blob: bytes, count: int) -> NDArray[np.int64]:
    """Return what :func:`pack_row_ids` took; raises CorruptError."""
    try:
        planes = np.frombuffer(zlib.decompress(blob), np.uint8).reshape(8, count)
    except (zlib.error, ValueError) as cause:
        raise CorruptError(
            f"row ids in the catalogue of intermediates are damaged: {cause}"
        ) from cause
    steps = np.ascontiguousarray(planes.T).view("<i8").reshape(count)
    return np.cumsum(steps, dtype=np.int64)
