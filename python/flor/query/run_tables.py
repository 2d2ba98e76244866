"""The tables ``runs`` and ``checkpoints``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from flor.layout import StoreLayout, run_status
from flor.query.kinds import JSON_MARK
from flor.query.store import Blobs
from flor.query.table import Table

_STEP = pa.struct([("loop", pa.string()), ("index", pa.int64())])
_EXACT = 2**53
CHECKPOINT_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("rank", pa.int64()),
        ("context", pa.list_(_STEP)),
        ("bytes", pa.int64()),
        ("stored", pa.int64()),
        ("time", pa.float64()),
    ]
)


def runs_table(layout: StoreLayout) -> Table:
    """Return a row a run, oldest first.

    Columns: run, script, argv (list of strings), status, started (Unix seconds), seconds, version,
    parent, args (a struct: one typed field a hyperparameter), modules and inputs (JSON).
    """
    metas = [{**layout.read_run(run), "run": run} for run in layout.run_ids()]
    columns = [
        _column("run", pa.string(), (m["run"] for m in metas)),
        _column("script", pa.string(), (m.get("script") for m in metas)),
        _column("argv", pa.list_(pa.string()), (m.get("argv") for m in metas)),
        _column("status", pa.string(), map(run_status, metas)),
        _column("started", pa.float64(), (m.get("started") for m in metas)),
        _column("seconds", pa.float64(), (m.get("seconds") for m in metas)),
        _column("version", pa.string(), (m.get("version") for m in metas)),
        _column("parent", pa.string(), (m.get("parent") for m in metas)),
        args_column([m.get("args") or {} for m in metas]),
        *(_json_column(name, [m.get(name) for m in metas]) for name in ("modules", "inputs")),
    ]
    schema = pa.schema([field for field, _ in columns])
    return Table(pa.table([column for _, column in columns], schema=schema), Blobs(layout.root))


def _column(name: str, kind: pa.DataType, values: Iterable[Any]) -> tuple[pa.Field, pa.Array]:
    return pa.field(name, kind), pa.array(list(values), kind)


def _json_column(name: str, values: list[Any]) -> tuple[pa.Field, pa.Array]:
    texts = [None if value is None else json.dumps(value) for value in values]
    return pa.field(name, pa.string(), metadata=JSON_MARK), pa.array(texts, pa.string())


def args_column(rows: list[dict[str, Any]]) -> tuple[pa.Field, pa.Array]:
    """Return the hyperparameters of runs as one struct column, a field a name.

    A field has the narrowest type exact for all runs: bool, int64, float64, string, else JSON.
    Where no run has a hyperparameter the column is null.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    fields, columns = [], []
    for name in names:
        field, column = _arg_field(name, [row.get(name) for row in rows])
        fields.append(field)
        columns.append(column)
    if not fields:  # neither DuckDB nor Parquet has a struct without fields
        return pa.field("args", pa.null()), pa.nulls(len(rows))
    kind = pa.struct(fields)
    return pa.field("args", kind), pa.StructArray.from_arrays(columns, fields=fields)


def _arg_field(name: str, values: list[Any]) -> tuple[pa.Field, pa.Array]:
    kinds = {type(value) for value in values if value is not None}
    exact = all(abs(v) <= _EXACT for v in values if type(v) is int)
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    if kinds == {int, float} and exact:
        return _column(name, pa.float64(), (None if v is None else float(v) for v in values))
    kind = types.get(next(iter(kinds), str)) if len(kinds) <= 1 else None
    fits = all(-(2**63) <= v < 2**63 for v in values if type(v) is int)
    return _column(name, kind, values) if kind and fits else _json_column(name, values)


def checkpoint_rows(layout: StoreLayout, run: str) -> list[dict[str, Any]]:
    """Return what the manifests of a run (exact id) say: rank, context, bytes, stored, time, path.

    ``bytes`` counts the state, ``stored`` what it took on disk beyond what was there. Raises
    CorruptError.
    """
    from flor import _core

    ranks = layout.ranks(run)
    paths = [(rank, path) for rank in ranks for path in layout.checkpoint_paths(run, rank)]
    if not paths:
        return []
    store = _core.ChunkStore(str(layout.root), readonly=True)
    return [
        _checkpoint_row(_core.CheckpointReader(store, str(path)), run, rank, path)
        for rank, path in paths
    ]


def _checkpoint_row(reader: Any, run: str, rank: int, path: Path) -> dict[str, Any]:
    context = json.loads(bytes(reader.meta) or b"{}").get("context") or []
    return {
        "run": run,
        "rank": rank,
        "context": [{"loop": step[0], "index": step[1]} for step in context],
        "bytes": reader.raw_bytes,
        "stored": reader.stored_bytes,
        "time": reader.time,
        "path": path,
    }


def checkpoints_table(layout: StoreLayout, run: str | None = None) -> Table:
    """Return a row a checkpoint of one run (id, prefix, 'latest') or, with None, of all.

    Columns: run, rank, context, bytes, stored, time. Raises RunNotFoundError, AmbiguousRunError,
    CorruptError.
    """
    runs = layout.run_ids() if run is None else [layout.resolve(run)]
    rows = [row for one in runs for row in checkpoint_rows(layout, one)]
    return Table(pa.Table.from_pylist(rows, CHECKPOINT_SCHEMA), Blobs(layout.root))
