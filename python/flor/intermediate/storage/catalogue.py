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
import math
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import ClosedError, CorruptError, FlorError, NewerFormatError, StorageError
from flor.files import storage_error
from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.columns import identity_of
from flor.intermediate.storage.entries import ChunkRow, Entry
from flor.intermediate.storage.packing import (
    check_of,
    pack_form,
    pack_numbers,
    pack_row_ids,
    unpack_numbers,
    unpack_row_ids,
)
from flor.layout import StoreLayout

FORMAT = 1
NAME = "catalogue.sqlite"
_WAIT_SECONDS = 60  # for the transaction of another process
# Numbers are not used again: readers remember what they mean.
_SCHEMA = """
CREATE TABLE content(id INTEGER PRIMARY KEY, ref BLOB NOT NULL UNIQUE);
CREATE TABLE rowset(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest BLOB NOT NULL UNIQUE, count INTEGER NOT NULL, ids BLOB NOT NULL);
CREATE TABLE chunk(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    identity BLOB NOT NULL UNIQUE,
    content INTEGER NOT NULL REFERENCES content(id),
    start INTEGER NOT NULL, length INTEGER NOT NULL,
    kind INTEGER NOT NULL, rows INTEGER NOT NULL, raw INTEGER NOT NULL,
    low REAL, high REAL, zeros INTEGER NOT NULL, nans INTEGER NOT NULL, error REAL NOT NULL,
    base INTEGER REFERENCES chunk(id), depth INTEGER NOT NULL DEFAULT 0,
    rowset INTEGER REFERENCES rowset(id), sketch BLOB, checked INTEGER NOT NULL);
CREATE TABLE form(id INTEGER PRIMARY KEY, packed BLOB NOT NULL UNIQUE);
CREATE TABLE intermediate(
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    model TEXT NOT NULL, layer TEXT NOT NULL, data TEXT NOT NULL, what TEXT NOT NULL,
    code TEXT NOT NULL, form INTEGER NOT NULL REFERENCES form(id),
    labels TEXT NOT NULL, parents TEXT NOT NULL,
    rows INTEGER NOT NULL, nbytes INTEGER NOT NULL, error REAL NOT NULL,
    seconds REAL, created REAL NOT NULL,
    rowsets BLOB NOT NULL, places INTEGER REFERENCES rowset(id),
    blocks BLOB NOT NULL, chunks BLOB NOT NULL, checked INTEGER NOT NULL);
CREATE INDEX intermediate_key ON intermediate(model, layer, data, what);
CREATE TABLE interest(
    model TEXT NOT NULL, layer TEXT NOT NULL, data TEXT NOT NULL, what TEXT NOT NULL,
    reads REAL NOT NULL, updated REAL NOT NULL,
    PRIMARY KEY(model, layer, data, what)) WITHOUT ROWID;
CREATE TABLE fact(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


def folder_of(layout: StoreLayout) -> Path:
    """Return the folder of a store that holds the catalogue."""
    return layout.root / "intermediates"


class Catalogue:
    """The tables. Every method is a transaction of its own. Errors are flor's."""

    def __init__(self, folder: Path, *, readonly: bool = False) -> None:
        self.path = folder / NAME
        self._lock = threading.RLock()
        self._process = os.getpid()
        # Also who only reads takes back the transaction of a process that was killed in it.
        kept = "ro" if readonly and not os.access(folder, os.W_OK) else "rw"
        mode = kept if readonly else "rwc"
        try:
            if not readonly:
                folder.mkdir(parents=True, exist_ok=True)
            self._db: sqlite3.Connection | None = sqlite3.connect(
                f"{self.path.as_uri()}?mode={mode}", timeout=_WAIT_SECONDS,
                uri=True, isolation_level=None, check_same_thread=False,
            )  # fmt: skip
        except OSError as cause:
            raise storage_error(cause, folder, "make") from cause
        except sqlite3.Error as cause:
            raise StorageError(f"{self.path} can't be opened: {cause}") from cause
        try:
            self._prepare(readonly)
        except BaseException:
            self.close()
            raise

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
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _error(self, cause: sqlite3.DatabaseError) -> FlorError:
        damaged = type(cause) is sqlite3.DatabaseError  # "malformed", "not a database"
        kind = CorruptError if damaged else StorageError
        hint = ""
        if "readonly database" in str(cause):
            hint = ". A writer was cut off here: open the store once where it can be written"
        error = kind(f"{self.path}{' is damaged' if damaged else ''}: {cause}{hint}")
        error.path = str(self.path)
        return error

    # --- chunks

    def chunks(self, identities: Sequence[bytes]) -> dict[bytes, ChunkRow]:
        """Return those of these chunks that are known."""
        with self.reading() as db:
            rows = _in_lots(db, f"{_CHUNK} WHERE c.identity IN", identities)
            return {row[0]: _chunk_row(row) for row in rows}

    def chunks_by_id(self, ids: Sequence[int]) -> dict[int, ChunkRow]:
        """Return chunks by their numbers; raises CorruptError when one is not there."""
        with self.reading() as db:
            rows = _in_lots(db, f"{_CHUNK} WHERE c.id IN", ids)
            found = {int(row[-1]): _chunk_row(row) for row in rows}
        for one in ids:
            if one not in found:
                raise CorruptError(f"{self.path}: chunk {one} is named and not in the catalogue")
        return found

    def sketched(self) -> list[tuple[bytes, bytes, int]]:
        """Return (identity, sketch, depth) of the chunks that have a sketch."""
        query = "SELECT identity, sketch, depth FROM chunk WHERE sketch IS NOT NULL ORDER BY id"
        with self.reading() as db:
            return db.execute(query).fetchall()

    # --- intermediates

    def commit(self, entry: Entry, new: Sequence[ChunkRow]) -> int:
        """Write an intermediate and its new chunks, all or nothing; return its number.

        ``new``: bases before what is a difference to them. One of the same key, code, rows and
        chunks is replaced: it was kept again.
        """
        with self.writing() as db:
            for chunk in new:
                _put_chunk(db, chunk)
            rowsets = pack_numbers([_put_rowset(db, ids) for ids in entry.rowsets])
            chunks = pack_numbers(_numbers(db, [chunk.identity for chunk in entry.chunks]))
            places = None if entry.places is None else _put_rowset(db, entry.places)
            same = (*_name(entry.key), entry.code, rowsets, chunks, places)
            db.execute(
                f"DELETE FROM intermediate WHERE {_KEY} AND code=? AND rowsets=? AND chunks=?"
                " AND places IS ?",
                same,
            )
            row = {
                "model": entry.key.model, "layer": entry.key.layer, "data": entry.key.data,
                "what": entry.key.what, "code": entry.code, "form": _put_form(db, entry.form),
                "labels": json.dumps(entry.labels), "parents": json.dumps(entry.parents),
                "rows": sum(entry.block_rows), "nbytes": entry.added,
                "error": float(max((chunk.error for chunk in entry.chunks), default=0.0)),
                "seconds": None if entry.seconds is None else float(entry.seconds),
                "created": float(entry.created),
                "rowsets": rowsets, "places": places,
                "blocks": pack_numbers(entry.block_rows), "chunks": chunks,
            }  # fmt: skip
            row["checked"] = _check_of_row(row)
            marks = ", ".join(f":{name}" for name in row)
            cursor = db.execute(f"INSERT INTO intermediate({', '.join(row)}) VALUES ({marks})", row)
            return int(cursor.lastrowid or 0)

    def intermediates(self, **wanted: Any) -> list[dict[str, Any]]:
        """Return the intermediates whose columns equal what is wanted (None: any), newest first."""
        names = [name for name, value in wanted.items() if value is not None]
        where = " AND ".join(f"i.{name}=?" for name in names) or "1"
        with self.reading() as db:
            cursor = db.execute(
                "SELECT i.*, f.packed AS packed_form FROM intermediate i JOIN form f ON f.id=i.form"
                f" WHERE {where} ORDER BY i.created DESC, i.id DESC",
                [wanted[name] for name in names],
            )
            columns = [one[0] for one in cursor.description]
            rows = [dict(zip(columns, row, strict=True)) for row in cursor]
        for row in rows:
            if row["checked"] != _check_of_row(row):
                raise CorruptError(f"{self.path}: intermediate {row['id']} fails its checksum")
        return rows

    def remove(self, number: int) -> None:
        """Forget an intermediate; its chunks stay until :meth:`purge`."""
        with self.writing() as db:
            db.execute("DELETE FROM intermediate WHERE id=?", (number,))

    def purge(self) -> int:
        """Forget what no intermediate needs; return how many chunks. REQUIRES: no writer."""
        with self.writing() as db:
            lists = db.execute("SELECT chunks, rowsets FROM intermediate").fetchall()
            bases = dict(db.execute("SELECT id, base FROM chunk"))
            keep = _with_bases({int(one) for row in lists for one in unpack_numbers(row[0])}, bases)
            rows = {int(one) for row in lists for one in unpack_numbers(row[1])}
            dead = [(one,) for one in sorted(bases.keys() - keep, reverse=True)]
            db.executemany("DELETE FROM chunk WHERE id=?", dead)
            rows |= {one for (one,) in db.execute("SELECT DISTINCT rowset FROM chunk")}
            rows |= {one for (one,) in db.execute("SELECT places FROM intermediate")}
            idle = [row for row in db.execute("SELECT id FROM rowset") if row[0] not in rows]
            db.executemany("DELETE FROM rowset WHERE id=?", idle)
            db.execute("DELETE FROM content WHERE id NOT IN (SELECT content FROM chunk)")
            db.execute("DELETE FROM form WHERE id NOT IN (SELECT form FROM intermediate)")
        return len(dead)

    def forget_lost(self, has: Callable[[bytes], bool]) -> int:
        """Forget the intermediates whose chunks lie in content that is not there; return how many.

        ``has``: whether the store holds what a reference names.
        """
        with self.writing() as db:
            gone = {
                number
                for number, ref in db.execute("SELECT id, ref FROM content").fetchall()
                if not has(ref)
            }
            rows = db.execute("SELECT id, content, base FROM chunk").fetchall()
            bases = {number: base for number, _, base in rows}
            bad = {number for number, content, _ in rows if content in gone}
            lost = [
                (number,)
                for number, chunks in db.execute("SELECT id, chunks FROM intermediate").fetchall()
                if _with_bases({int(one) for one in unpack_numbers(chunks)}, bases) & bad
            ]
            db.executemany("DELETE FROM intermediate WHERE id=?", lost)
        return len(lost)

    def row_ids(self, rowset: int | bytes) -> NDArray[np.int64]:
        """Return the row ids of a set of rows, by its number or digest."""
        column = "digest" if isinstance(rowset, bytes) else "id"
        query = f"SELECT count, ids FROM rowset WHERE {column}=?"
        with self.reading() as db:
            row = db.execute(query, (rowset,)).fetchone()
        if row is None:
            raise CorruptError(f"{self.path}: a set of rows is named and not in the catalogue")
        return unpack_row_ids(row[1], row[0])

    def refs(self) -> list[bytes]:
        """Return the references of all content that chunks lie in."""
        with self.reading() as db:
            return [row[0] for row in db.execute("SELECT ref FROM content")]

    def problems(self) -> list[str]:
        """Return what SQLite finds wrong with the file; empty when all is well."""
        with self.reading() as db:
            found = [str(row[0]) for row in db.execute("PRAGMA integrity_check(10)")]
        return [] if found == ["ok"] else found

    # --- counters and facts

    def interest(self, key: Key, update: Callable[[float, float], tuple[float, float]]) -> float:
        """Set an intermediate's interest to update(interest, when it was last set); return it."""
        name = _name(key)
        with self.writing() as db:
            query = f"SELECT reads, updated FROM interest WHERE {_KEY}"
            row = db.execute(query, name).fetchone() or (0.0, 0.0)
            reads, now = update(*row)
            db.execute("INSERT OR REPLACE INTO interest VALUES (?,?,?,?,?,?)", (*name, reads, now))
        return reads

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
    "SELECT c.identity, x.ref, c.start, c.length, c.kind, c.rows, c.raw, c.low, c.high, c.zeros,"
    " c.nans, c.error, b.identity, c.depth, r.digest, c.sketch, c.checked, c.id"
    " FROM chunk c"
    " JOIN content x ON x.id = c.content LEFT JOIN chunk b ON b.id = c.base"
    " LEFT JOIN rowset r ON r.id = c.rowset"
)
_CHECKED = (
    *("model", "layer", "data", "what", "code", "form", "labels", "parents", "rows", "nbytes"),
    *("error", "seconds", "created", "rowsets", "places", "blocks", "chunks"),
)
_LOT = 500  # values of one query


def _name(key: Key) -> tuple[str, str, str, str]:
    return (key.model, key.layer, key.data, key.what)


def _in_lots(db: sqlite3.Connection, query: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Run a query that ends in IN, with these values."""
    rows = []
    for at in range(0, len(values), _LOT):
        some = values[at : at + _LOT]
        rows += db.execute(f"{query} ({','.join('?' * len(some))})", some).fetchall()
    return rows


def _chunk_row(row: Sequence[Any]) -> ChunkRow:
    ranges = [math.nan if value is None else value for value in row[7:9]]
    chunk = ChunkRow(*[*row[:7], *ranges, *row[9:16]])
    if chunk.check() != row[16]:
        raise CorruptError(f"the catalogue of intermediates: chunk {row[17]} fails its checksum")
    return chunk


def _check_of_row(row: Mapping[str, Any]) -> int:
    return check_of([row[name] for name in _CHECKED])


def _put_rowset(db: sqlite3.Connection, ids: NDArray[np.int64]) -> int:
    digest = identity_of(ids)
    found = db.execute("SELECT id FROM rowset WHERE digest=?", (digest,)).fetchone()
    if found:
        return int(found[0])
    values = (digest, len(ids), pack_row_ids(ids))
    cursor = db.execute("INSERT INTO rowset(digest, count, ids) VALUES (?,?,?)", values)
    return int(cursor.lastrowid or 0)


def _put_form(db: sqlite3.Connection, form: Form) -> int:
    packed = pack_form(form)
    db.execute("INSERT OR IGNORE INTO form(packed) VALUES (?)", (packed,))
    return int(db.execute("SELECT id FROM form WHERE packed=?", (packed,)).fetchone()[0])


def _put_chunk(db: sqlite3.Connection, chunk: ChunkRow) -> None:
    """Add a chunk; one whose bytes were lost gets its new place."""
    if chunk.ids is not None:
        _put_rowset(db, chunk.ids)  # else it is there: another writer of this process did
    db.execute("INSERT OR IGNORE INTO content(ref) VALUES (?)", (chunk.ref,))
    db.execute(
        "INSERT INTO chunk(identity, content, start, length, kind, rows, raw, low, high, zeros,"
        " nans, error, base, depth, rowset, sketch, checked) VALUES (?, (SELECT id FROM content"
        " WHERE ref=?), ?,?,?,?,?,?,?,?,?,?, (SELECT id FROM chunk WHERE identity=?), ?,"
        " (SELECT id FROM rowset WHERE digest=?), ?,?)"
        " ON CONFLICT(identity) DO UPDATE SET content=excluded.content, start=excluded.start,"
        " length=excluded.length, kind=excluded.kind, base=excluded.base, depth=excluded.depth,"
        " rowset=excluded.rowset, checked=excluded.checked WHERE excluded.base IS NULL",
        (chunk.identity, chunk.ref, chunk.start, chunk.length, chunk.kind, chunk.rows, chunk.raw,
         chunk.low, chunk.high, chunk.zeros, chunk.nans, chunk.error, chunk.base, chunk.depth,
         chunk.rowset, chunk.sketch, chunk.check()),
    )  # fmt: skip


def _numbers(db: sqlite3.Connection, identities: Sequence[bytes]) -> list[int]:
    wanted = list(dict.fromkeys(identities))
    numbers = dict(_in_lots(db, "SELECT identity, id FROM chunk WHERE identity IN", wanted))
    if len(numbers) != len(wanted):
        raise StorageError(
            "chunks that this intermediate shares were removed while it was written; write it again"
        )
    return [numbers[one] for one in identities]


def _with_bases(chunks: set[int], bases: dict[int, int | None]) -> set[int]:
    """Return these chunks and all that they are differences to."""
    keep, todo = set(chunks), list(chunks)
    while todo:
        base = bases.get(todo.pop())
        if base is not None and base not in keep:
            keep.add(base)
            todo.append(base)
    return keep
