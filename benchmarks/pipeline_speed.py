"""Every stage of ten pipelines: read what is kept, or run the pipeline to there?

*read*: from the store, as NumPy columns: the whole table, its last column of numbers, that column
of 100 rows. *rerun*: the seconds of all stages up to it alone, when the pipeline ran, with the
sources in memory and fitted objects as they are: a model is not trained again. A rerun gives all
columns, so it costs the same whatever is asked. *with loading*: the sources read from CSV first, as
a new process would. *flor's rerun*: by StageGraph.compute, which checks the data and the outcome.
The file cache is warm; the least of three reads, one rerun.
FLOR_BENCH_PIPELINES: only so many of the ten.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.harness import Report, run_report
from benchmarks.pipelines.data import PROPERTIES, SALES, tables
from benchmarks.pipelines.templates import pipelines
from flor.intermediate.pipelines.stage_graph import StageGraph
from flor.intermediate.pipelines.stages import run
from flor.intermediate.storage.store import IntermediateStore


def seconds(act: Callable[[], Any], times: int = 1) -> float:
    """Return the least time of some."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        act()
        took.append(time.perf_counter() - began)
    return min(took)


def loading(data: dict[str, pd.DataFrame], folder: Path) -> float:
    """Return how long the sources take from CSV."""
    for name, table in data.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return seconds(lambda: [pd.read_csv(folder / f"{name}.csv") for name in data])


def stage_seconds(graph: StageGraph, layer: str) -> float:
    """Return how long the stages up to a table took, each once."""
    calls: dict[int, float] = {}
    todo = [layer]
    while todo:
        name = todo.pop()
        call = graph.table(name).call
        if call is not None and id(call) not in calls:
            calls[id(call)] = call.seconds
            todo += graph.parents(name)
    return sum(calls.values())


def stages(
    name: str, graph: StageGraph, store: IntermediateStore, load: float
) -> list[dict[str, Any]]:
    """Return a row a stage."""
    rows = []
    for layer in graph.layers():
        if not graph.parents(layer):
            continue
        kept = store.find(graph.key(layer))[0]
        numbers = [p.name for p in graph.form(layer).parts if np.dtype(p.dtype).kind in "fiu"]
        column, some = numbers[-1:], graph.rows(layer)[:: max(1, kept.rows // 100)][:100]
        row = {
            "pipeline": name,
            "stage": layer,
            "columns": len(graph.form(layer).parts),
            "table": seconds(kept.read, 3),
            "column": seconds(partial(kept.read, units=column), 3),
            "100 rows": seconds(partial(kept.read, some, column), 3),
            "rerun": stage_seconds(graph, layer),
            "flor's rerun": seconds(partial(graph.compute, layer, None, {})),
        }
        row["with loading"] = row["rerun"] + load
        rows.append(row)
    return rows


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many times faster reading is, over all stages."""
    found = []
    for rerun in ("rerun", "with loading"):
        for asked in ("table", "column", "100 rows"):
            every = [row[rerun] / row[asked] for row in rows]
            found.append(
                {
                    "rerun": rerun,
                    "read": asked,
                    "stages": len(every),
                    "least": round(min(every), 2),
                    "median": round(statistics.median(every), 1),
                    "most": round(max(every), 1),
                    "2.5 x and more, %": round(100 * statistics.mean(x >= 2.5 for x in every), 1),
                    "100 x and more": sum(x >= 100 for x in every),
                }
            )
    return found


def measure(quick: bool) -> Report:
    data = tables(6_000, 5_000) if quick else tables(PROPERTIES, SALES)
    count = int(os.environ.get("FLOR_BENCH_PIPELINES", "2" if quick else "10"))
    report = Report("pipeline_speed", "Reading a stage's table against running the pipeline to it.")
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        load = loading(data, Path(temporary))
        with IntermediateStore.open(Path(temporary) / "store", create=True) as store:
            for name, template, settings in list(pipelines())[:count]:
                graph = run(partial(template, **settings), data, store)
                rows += stages(name, graph, store, load)
                print(name, flush=True)
    report.add("How many times faster reading is", ratios(rows))
    report.add("Stages, milliseconds", [in_milliseconds(row) for row in rows])
    report.notes.append(f"loading the two CSV files takes {load:.2f} s")
    return report


def in_milliseconds(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: round(1e3 * value, 2) if isinstance(value, float) else value
        for key, value in row.items()
    }


if __name__ == "__main__":
    run_report(measure, __doc__)
