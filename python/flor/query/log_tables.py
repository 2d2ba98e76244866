"""Logs as tables: long (a row a record) and wide (a row a context, a column a name)."""

from __future__ import annotations

import difflib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flor.errors import InvalidError
from flor.layout import StoreLayout
from flor.query.kinds import Values
from flor.query.order import Ints, group_ids
from flor.query.records import Records, empty_records, load_records
from flor.query.store import Blobs
from flor.query.table import Table

ORIGINS = ("record", "replay")
_KEYS = ("run", "rank", "occurrence")


def selected(
    layout: StoreLayout, run: str | None, blobs: Blobs, *, diverged: bool = False
) -> list[Records]:
    """Return the records of one run (id, prefix, 'latest'), or with None of every run."""
    runs = layout.run_ids() if run is None else [layout.resolve(run)]
    return [load_records(layout, one, blobs, diverged=diverged) for one in runs]


def long_logs(
    layout: StoreLayout,
    run: str | None = None,
    *,
    names: list[str] | None = None,
    origin: str | None = None,
    diverged: bool = False,
    internal: bool = False,
    keep_ints: bool = False,
) -> Table:
    """Return a row a record in the order of the run: run, rank, origin, context, name, value, time.

    ``names`` keeps those, ``origin`` 'record' or 'replay' keeps that; ``diverged`` shows rows of
    replays that diverged, ``internal`` flor's own records; with ``keep_ints`` an integer among
    floats stays one. Raises InvalidError for a name or an
    origin that is none, RunNotFoundError, AmbiguousRunError, CorruptError.
    """
    if origin not in (None, *ORIGINS):
        raise InvalidError(f"origin is 'record' or 'replay', not {origin!r}")
    blobs = Blobs(layout.root)
    every = selected(layout, run, blobs, diverged=diverged)
    check_names(every, names or [])
    parts = [records.named(names, internal=internal) for records in every]
    if origin is not None:
        wanted = origin == "replay"
        parts = [r.take(np.flatnonzero(r.replayed == wanted)) for r in parts]
    parts = parts or [empty_records(blobs)]
    base = pa.concat_tables([base_columns(r) for r in parts])
    field, column = Values(pa.concat_tables([r.table for r in parts]), blobs.fetch).field(
        keep_ints=keep_ints
    )
    return Table(base.add_column(base.num_columns - 1, field, column), blobs)


def base_columns(records: Records) -> pa.Table:
    """Return the columns run, rank, origin, context, name, time of a run's records."""
    origin = pa.DictionaryArray.from_arrays(
        pa.array(records.replayed.astype(np.int8)), pa.array(ORIGINS)
    )
    return pa.table(
        {
            "run": pa.repeat(pa.scalar(records.run, pa.string()), len(records)),
            "rank": records.table["rank"],
            "origin": origin.cast(pa.string()),
            "context": records.table["context"],
            "name": records.table["name"],
            "time": records.table["time"],
        }
    )


def check_names(every: list[Records], names: list[str]) -> None:
    """Raise InvalidError, listing what is near, for a name that none of the records has."""
    known: set[str] = set()
    for records in every:
        known.update(records.table["name"].unique().to_pylist())
    for name in names:
        if name not in known:
            shown = sorted(n for n in known if not n.startswith("__flor__"))
            near = difflib.get_close_matches(name, shown, 3) or shown[:10]
            hint = f"near: {', '.join(near)}" if near else "nothing is logged"
            raise InvalidError(f"no record is named {name!r}; {hint}. See: flor logs")


def wide_logs(
    layout: StoreLayout, names: list[str], run: str | None = None, *, diverged: bool = False
) -> Table:
    """Return a row a (run, rank, context, occurrence), with a column a loop and a column a name.

    Loop columns are int64, null where the context lacks the loop; recorded and replayed values
    meet in one row. A loop named as one of ``names`` or as a key column gets a trailing ``_``.
    Raises InvalidError for an unknown name, and as ``long_logs``.
    """
    blobs = Blobs(layout.root)
    every = selected(layout, run, blobs, diverged=diverged)
    check_names(every, names)
    parts = [records.named(names) for records in every]
    return Table(wide_table(parts, list(dict.fromkeys(names)), blobs), blobs)


def wide_table(parts: list[Records], names: list[str], blobs: Blobs) -> pa.Table:
    """Return the wide Arrow table of these runs' records, each holding only ``names``."""
    loops = list(dict.fromkeys(loop for records in parts for loop in records.contexts.loops))
    groups = [_row_groups(records) for records in parts]
    starts = np.cumsum([0, *(int(g.max(initial=-1)) + 1 for g in groups)])
    rows = int(starts[-1])
    firsts = [_first_rows(group) for group in groups]
    columns: dict[str, pa.Array] = {
        "run": pa.array([r.run for r, first in zip(parts, firsts, strict=True) for _ in first]),
        "rank": _joined([r.ints("rank")[f] for r, f in zip(parts, firsts, strict=True)]),
    }
    for loop in loops:
        columns[_free(loop, names)] = _loop_values(parts, firsts, loop)
    columns["occurrence"] = _joined([r.occurrence[f] for r, f in zip(parts, firsts, strict=True)])
    table = pa.table(columns).cast(
        pa.schema([(name, pa.string() if name == "run" else pa.int64()) for name in columns])
    )
    if not parts:
        return table
    everything = pa.concat_tables([r.table for r in parts]).combine_chunks()
    places = np.concatenate([group + start for group, start in zip(groups, starts, strict=False)])
    for name in names:
        table = table.append_column(*_name_column(everything, places, rows, name, blobs))
    return table


def _row_groups(records: Records) -> Ints:
    """Return for each record the number of its wide row, rows numbered by their first record."""
    ids = group_ids([records.ints("rank"), records.places, records.occurrence], len(records))
    order = np.argsort(np.unique(ids, return_index=True)[1])
    renumbered = np.empty(len(order), np.int64)
    renumbered[order] = np.arange(len(order))
    return renumbered[ids]


def _first_rows(group: Ints) -> Ints:
    return np.unique(group, return_index=True)[1]


def _joined(columns: list[Ints]) -> pa.Array:
    return pa.array(np.concatenate([np.zeros(0, np.int64), *columns]))


def _free(loop: str, names: list[str]) -> str:
    while loop in names or loop in _KEYS:
        loop += "_"
    return loop


def _loop_values(parts: list[Records], firsts: list[Ints], loop: str) -> pa.Array:
    values, there = [np.zeros(0, np.int64)], [np.zeros(0, np.bool_)]
    for records, first in zip(parts, firsts, strict=True):
        if loop in records.contexts.loops:
            index, has = records.contexts.loop_column(loop)
        else:
            index, has = np.zeros(len(records), np.int64), np.zeros(len(records), np.bool_)
        values.append(index[first])
        there.append(has[first])
    return pa.array(np.concatenate(values), mask=~np.concatenate(there))


def _name_column(
    everything: pa.Table, places: Ints, rows: int, name: str, blobs: Blobs
) -> tuple[pa.Field, pa.Array]:
    mine = np.flatnonzero(
        pc.equal(everything["name"], name).combine_chunks().to_numpy(zero_copy_only=False)
    )
    field, column = Values(everything.take(pa.array(mine)), blobs.fetch).field(name)
    source = np.full(rows, -1, np.int64)
    source[places[mine]] = np.arange(len(mine))
    return field, column.take(pa.array(source, mask=source < 0))
