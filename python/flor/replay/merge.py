"""Adds what a replay logged anew to its run: a folder of its own, replay.json written last."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flor.errors import StorageError
from flor.files import storage_error, write_json
from flor.layout import StoreLayout
from flor.query.order import AFTER
from flor.replay.engine import Outcome
from flor.replay.placing import Anchors
from flor.replay.plan import Plan
from flor.replay.records import JSON, STRING, Context, Record, python_value, read_records
from flor.replay.verify import MAX_DIFFERENCES, same

Group = tuple[int, str, Context]
SHOWN = ("verified", "unverified")


def new_records(plan: Plan, outcomes: Iterable[Outcome]) -> tuple[list[Record], list[str]]:
    """Return the asked-for records of all workers in order, and notes on what they disagree about.

    What several workers logged (before the main loop, or on the way to their part) counts once.
    """
    chosen: dict[Any, Record] = {}
    unlike: set[str] = set()
    for outcome in outcomes:
        for record in outcome.probes:
            if not plan.of_rank(outcome.rank).wants(record.context):
                continue
            first = chosen.setdefault(record.identity, record)
            if not same(first, record):
                unlike.add(record.name)
    notes = [
        f"{name!r}: workers got different values at one place; the first one's is kept"
        for name in sorted(unlike)
    ]
    return list(chosen.values()), notes


def without_known(layout: StoreLayout, run: str, records: list[Record]) -> list[Record]:
    """Return the records without those that an earlier replay has, all of that name and context.

    A replay repeated changes nothing: its rows are there already, with the time they were made.
    """
    known: dict[Group, list[Record]] = {}
    for replay in layout.replays(run):  # the newest replaces
        if replay.get("verdict") in SHOWN:
            rows = read_records(Path(replay["dir"]) / "log")
            known |= grouped(row for row in rows if row.name != AFTER)
    mine = grouped(records)
    old = {
        group
        for group, rows in mine.items()
        if len(known.get(group, [])) == len(rows)
        and all(itertools.starmap(same, zip(rows, known[group], strict=True)))
    }
    return [record for record in records if (record.rank, record.name, record.context) not in old]


def grouped(records: Iterable[Record]) -> dict[Group, list[Record]]:
    """Return records by (rank, name, context)."""
    groups: dict[Group, list[Record]] = {}
    for record in records:
        groups.setdefault((record.rank, record.name, record.context), []).append(record)
    return groups


def write_replay(
    folder: Path, records: list[Record], anchors: Anchors, content: dict[str, Any]
) -> None:
    """Write the records and then, in one atomic step, replay.json; raises StorageError.

    ``anchors``: what they follow where their contexts do not tell, see ``placing.misplaced``.
    """
    content = {**content, "differences": content["differences"][:MAX_DIFFERENCES]}
    _write_log(folder / "log", records, anchors)
    write_json(folder / "replay.json", content)


def _write_log(folder: Path, records: list[Record], anchors: Anchors) -> None:
    from flor import _core

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise storage_error(cause, folder, "make") from cause
    serial = f"{os.getpid()}-{time.time_ns():x}"
    for rank in sorted({record.rank for record in records}):
        writer = _core.LogWriter(str(folder), f"r{rank}-{serial}")
        try:
            _write_records(writer, [one for one in records if one.rank == rank], anchors)
        finally:
            writer.close()
        if writer.error:
            raise StorageError(f"can't write the log {folder}: {writer.error}; check the disk")


def _write_records(writer: Any, records: list[Record], anchors: Anchors) -> None:
    """Write records in order, and a marker wherever what they follow changes."""
    told: Any = (False, None)
    for record in records:
        noted, anchor = record.identity in anchors, anchors.get(record.identity)
        if (noted, anchor) != told:
            _, name, context, occurrence = anchor or (0, None, (), 0)
            place = ([name, occurrence] if anchor else []) if noted else None
            writer.log_encoded(AFTER, JSON, json.dumps(place).encode(), list(context))
            told = (noted, anchor)
        _write(writer, record)


def _write(writer: Any, record: Record) -> None:
    context = list(record.context)
    if record.kind >= STRING:
        writer.log_encoded(record.name, record.kind, record.value, context)
    else:
        writer.log(record.name, python_value(record), context)
