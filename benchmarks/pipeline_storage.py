"""How many bytes do all intermediates of fifty pipelines take, kept in four ways?

An intermediate is every table that a stage took from outside or gave: sources, what stages made of
them, predictions. Beside each other, after each pipeline:

- store-all: every column of every intermediate of every pipeline, uncompressed: its Arrow buffers
  (numbers as in memory, truth values as bits, texts as UTF-8 with offsets, categories as indices
  with their dictionary).
- store-all-z: the same as one Parquet file (zstd, pyarrow's defaults) an intermediate.
- flor: all bytes of the store's folder: packs, catalogue, schemas, and the fitted models, which the
  other ways do not have; the models are given apart, too.
- floor: the distinct columns, each zstd at level 19, as the smaller of its Arrow buffers and of
  codes with a sorted dictionary.

At the end every table is read back from the store, made the user's table again, and compared bit
for bit by its fingerprint. FLOR_BENCH_PIPELINES: only so many of the fifty. FLOR_BENCH_SIZES: a
file in which sizes that are not flor's are remembered by content, so that they are measured once.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
import time
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import Report, run_report
from benchmarks.pipelines.data import PROPERTIES, SALES, tables
from benchmarks.pipelines.templates import pipelines
from flor.intermediate.pipelines.stage_graph import Table
from flor.intermediate.pipelines.stages import Recorder, recorded
from flor.intermediate.pipelines.tables import Encoded, encode, table_of
from flor.intermediate.storage import blobs
from flor.intermediate.storage.schemas import get_schema
from flor.intermediate.storage.store import IntermediateStore

QUICK = (6_000, 5_000, 12)  # properties, sales, pipelines
ZSTD = pa.Codec("zstd", compression_level=19)


def arrow_of(value: Any) -> pa.Table:
    """Return the user's table as Arrow, without its index."""
    if isinstance(value, pd.DataFrame):
        return pa.Table.from_pandas(value, preserve_index=False)
    if isinstance(value, pd.Series):
        return pa.table({"value": pa.Array.from_pandas(value)})
    columns = value[:, None] if value.ndim == 1 else value
    return pa.table({str(at): columns[:, at] for at in range(columns.shape[1])})


def smallest(column: pa.ChunkedArray, codes: Any, told: Any) -> int:
    """Return the bytes of a column at zstd 19."""
    buffers = [b for chunk in column.chunks for b in chunk.buffers() if b is not None]
    plain = len(ZSTD.compress(b"".join(memoryview(buffer) for buffer in buffers)))
    if told is None:
        return plain
    coded = len(ZSTD.compress(np.ascontiguousarray(codes).tobytes()))
    return min(plain, coded + len(ZSTD.compress(json.dumps(told).encode())))


class Tally:
    """What the intermediates take in the ways that are not flor's."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "one.parquet"
        self.plain = self.parquet = self.columns = self.tables = self.sources = 0
        self.seconds = 0.0
        self.memory = Path(os.environ.get("FLOR_BENCH_SIZES", folder / "sizes.json"))
        told = json.loads(self.memory.read_text()) if self.memory.exists() else {}
        self._tables: dict[str, tuple[int, int]] = told.get("tables", {})
        self._seen: set[str] = set()
        self._columns: dict[str, int] = told.get("columns", {})
        self._distinct: dict[str, Future[int] | int] = {}
        self._pool = ThreadPoolExecutor(1)

    def add(self, _made: Table, kept: Encoded, value: Any) -> None:
        began = time.perf_counter()
        if kept.content not in self._seen:
            self._seen.add(kept.content)
            self._look(kept, value)
        plain, parquet = self._tables[kept.content]
        self.plain, self.parquet = self.plain + plain, self.parquet + parquet
        self.tables += 1
        self.sources += plain if _made.how == "source" else 0
        self.columns += len(kept.form.parts)
        self.seconds += time.perf_counter() - began

    def _look(self, kept: Encoded, value: Any) -> None:
        table = arrow_of(value)
        if kept.content not in self._tables:
            pq.write_table(table, self.file, compression="zstd")
            self._tables[kept.content] = int(table.nbytes), self.file.stat().st_size
        assert isinstance(kept.values, dict)
        for name, column in zip(kept.values, table.columns, strict=False):  # the index comes last
            told = kept.schema.get("columns", {}).get(name)
            digest = sha256(kept.digests[name] + repr(told).encode()).hexdigest()[:40]
            if digest in self._columns:
                self._distinct[digest] = self._columns[digest]
            elif digest not in self._distinct:
                codes = kept.values[name]
                self._distinct[digest] = self._pool.submit(smallest, column, codes, told)

    def floor(self) -> int:
        """Return the bytes of the distinct columns so far; waits for them."""
        for digest, job in self._distinct.items():
            self._columns[digest] = job if isinstance(job, int) else job.result()
        told = {"tables": self._tables, "columns": self._columns}
        self.memory.write_text(json.dumps(told))
        return sum(self._columns[digest] for digest in self._distinct)

    @property
    def distinct(self) -> int:
        return len(self._distinct)


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def megabytes(count: float) -> float:
    return round(count / 1e6, 3)


def read_back(store: IntermediateStore) -> tuple[int, int]:
    """Return how many tables came back bit-equal, and how many there are."""
    good = total = 0
    for kept in store.find():
        if "content" not in kept.labels:
            continue
        total += 1
        ids, values = kept.read()
        table = table_of(get_schema(store, kept.labels["schema"]), values, ids)
        names = [part.name for part in kept.form.parts] if isinstance(table, np.ndarray) else None
        good += encode(table, names).content == kept.labels["content"]
    return good, total


def measure(quick: bool) -> Report:
    properties, sales, count = QUICK if quick else (PROPERTIES, SALES, 50)
    count = int(os.environ.get("FLOR_BENCH_PIPELINES", str(count)))
    report = Report(
        "pipeline_storage",
        f"Bytes of all intermediates of {count} pipelines; {properties:,} properties, "
        f"{sales:,} sales. MB = 1,000,000 bytes.",
    )
    data = tables(properties, sales)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        store = IntermediateStore.open(folder / "store", create=True)
        tally = Tally(folder)
        curve = []
        for at, (name, template, settings) in enumerate(list(pipelines())[:count], 1):
            curve.append(one(name, functools.partial(template, **settings), data, store, tally, at))
            print(curve[-1], flush=True)
        store.close()
        total = folder_bytes(folder / "store")
        report.add("Bytes against the number of pipelines", curve)
        report.add("In all", summary(tally, total, folder / "store", curve))
    return report


def one(
    name: str, pipeline: Any, data: dict[str, Any], store: IntermediateStore, tally: Tally, at: int
) -> dict[str, Any]:
    """Run a pipeline; return a row of the curve."""
    known = {title: table.copy() for title, table in data.items()}
    before, began = tally.seconds, time.perf_counter()
    with recorded(Recorder(name, store, known=known, watch=tally.add)) as graph:
        pipeline(**known)
    took = time.perf_counter() - began - (tally.seconds - before)
    calls = {id(one.call): one.call for one in graph.tables.values() if one.call is not None}
    calls |= {id(one.call): one.call for one in graph.fitted.values() if one.call is not None}
    stored = folder_bytes(store.layout.root)
    return {
        "pipelines": at,
        "last": name,
        "stages": len(calls),
        "store-all MB": megabytes(tally.plain),
        "store-all-z MB": megabytes(tally.parquet),
        "flor MB": megabytes(stored),
        "store-all / flor": round(tally.plain / stored, 2),
        "distinct columns": tally.distinct,
        "pipeline s": round(sum(call.seconds for call in calls.values()), 2),
        "recorded s": round(took, 2),
    }


def summary(
    tally: Tally, total: int, folder: Path, curve: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    floor = tally.floor()
    with IntermediateStore.open(folder) as store:
        models = sum(one.nbytes for one in store.find(what=blobs.PICKLE))
        schemas = sum(one.nbytes for one in store.find(what=blobs.SCHEMA))
        good, tables_kept = read_back(store)
    rows = {
        "intermediates": tally.tables,
        "columns of all intermediates": tally.columns,
        "distinct columns": tally.distinct,
        "store-all MB": megabytes(tally.plain),
        "of it sources MB": megabytes(tally.sources),
        "store-all-z MB": megabytes(tally.parquet),
        "flor MB": megabytes(total),
        "of it fitted models MB": megabytes(models),
        "of it schemas MB": megabytes(schemas),
        "of it catalogue MB": megabytes(sum(p.stat().st_size for p in folder.rglob("*.sqlite*"))),
        "floor MB": megabytes(floor),
        "store-all / flor": round(tally.plain / total, 2),
        "store-all without sources / flor": round((tally.plain - tally.sources) / total, 2),
        "store-all-z / flor": round(tally.parquet / total, 2),
        "flor / floor": round(total / floor, 3),
        "flor without models / floor": round((total - models) / floor, 3),
        "tables read back bit-equal": f"{good} of {tables_kept}",
    }
    if len(curve) > 10:
        grown = curve[-1]["flor MB"] - curve[9]["flor MB"]
        plain = curve[-1]["store-all MB"] - curve[9]["store-all MB"]
        rows["slope after the tenth, flor / store-all"] = round(grown / plain, 4)
    return [{"what": what, "value": value} for what, value in rows.items()]


if __name__ == "__main__":
    run_report(measure, __doc__)
