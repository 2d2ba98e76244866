"""What the planner learns from query to query, kept in the store's catalogue.

Rates (sums of a fit, by name), interest (how often units were asked, decaying), decisions (why
something is kept or not). Tables of its own, ``plan_*``, so that losing them loses no data.
Thread-safe; a store may be used by several processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterable
from typing import Any

from flor.intermediate.forms import Key

# After so many queries the interest in something not asked again has halved.
HALF_LIFE = 100
FLUSH_SECONDS = 1.0

_TABLES = """
create table if not exists plan_rates (name text primary key, sums text not null);
create table if not exists plan_clock (only integer primary key check (only = 0), queries integer);
create table if not exists plan_interest (
    name text, unit text, weight real not null, at integer not null, primary key (name, unit));
create table if not exists plan_decisions (
    id integer primary key, name text not null, at integer not null, verdict text not null,
    facts text not null);
insert or ignore into plan_clock values (0, 0);
"""


class Ledger:
    """Rates, interest and decisions. ``path``: the catalogue; None: in memory."""

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(
            path if path is not None else ":memory:",
            timeout=30,
            check_same_thread=False,
            isolation_level=None,
        )
        if path is not None:  # what is learned may be lost with the power; no query waits for it
            self._db.execute("pragma synchronous = off")
        self._db.executescript(_TABLES)
        self._pending: dict[str, list[float]] = {}
        self._flushed = time.monotonic()
        # Also when the process ends without close().
        self._end = weakref.finalize(self, _flush, self._db, self._pending)

    def close(self) -> None:
        """Write what is pending and close the connection. A second call does nothing."""
        with self._lock:
            self._end()
            self._db.close()

    def sums(self, name: str) -> list[float] | None:
        """Return the sums of a fit, None where nothing was measured yet."""
        with self._lock:
            if name in self._pending:
                return self._pending[name]
            row = self._db.execute("select sums from plan_rates where name = ?", [name]).fetchone()
        return None if row is None else json.loads(row[0])

    def remember_sums(self, name: str, sums: list[float]) -> None:
        """Keep the sums of a fit; written once a second, and when the process ends."""
        with self._lock:
            self._pending[name] = sums
            if time.monotonic() - self._flushed > FLUSH_SECONDS:
                _flush(self._db, self._pending)
                self._flushed = time.monotonic()

    def asked(self, key: Key, units: Iterable[str]) -> None:
        """Count a query of these units of an intermediate."""
        name = name_of(key)
        with self._lock, self._db:
            self._db.execute("begin immediate")
            self._db.execute("update plan_clock set queries = queries + 1")
            now = self._now()
            for unit in {"", *units}:
                weight = self._weight(name, unit, now) + 1.0
                self._db.execute(
                    "insert or replace into plan_interest values (?, ?, ?, ?)",
                    [name, unit, weight, now],
                )

    def interest(self, key: Key, unit: str = "") -> float:
        """Return the decayed count of queries of a unit; '' counts those of the layer."""
        with self._lock:
            return self._weight(name_of(key), unit, self._now())

    def decide(self, key: Key, verdict: str, **facts: Any) -> None:
        """Write down what was decided about an intermediate."""
        with self._lock:
            self._db.execute(
                "insert into plan_decisions (name, at, verdict, facts) values (?, ?, ?, ?)",
                [name_of(key), self._now(), verdict, json.dumps(facts)],
            )

    def decisions(self, key: Key, newest: int = 20) -> list[tuple[int, str, dict[str, Any]]]:
        """Return (query number, verdict, facts), newest first."""
        with self._lock:
            rows = self._db.execute(
                "select at, verdict, facts from plan_decisions where name = ? "
                "order by id desc limit ?",
                [name_of(key), newest],
            ).fetchall()
        return [(at, verdict, json.loads(facts)) for at, verdict, facts in rows]

    def _now(self) -> int:
        return int(self._db.execute("select queries from plan_clock").fetchone()[0])

    def _weight(self, name: str, unit: str, now: int) -> float:
        row = self._db.execute(
            "select weight, at from plan_interest where name = ? and unit = ?", [name, unit]
        ).fetchone()
        return 0.0 if row is None else float(row[0]) * 0.5 ** ((now - row[1]) / HALF_LIFE)


def _flush(db: sqlite3.Connection, pending: dict[str, list[float]]) -> None:
    rows = [(name, json.dumps(sums)) for name, sums in pending.items()]
    with contextlib.suppress(sqlite3.Error):  # learned again by the next one
        db.executemany("insert or replace into plan_rates values (?, ?)", rows)
    pending.clear()


def name_of(key: Key) -> str:
    """Return a key as one word."""
    return "\x1f".join((key.model, key.layer, key.data, key.what))
