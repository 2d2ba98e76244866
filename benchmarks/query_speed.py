"""How fast are diagnostic queries, read or computed again, and does the planner choose well?

A VGG-like network over seeded images. Every kind of query × first, middle and last layer × 100,
1,000 and all rows, three ways, interleaved: read (nothing may be computed), rerun (nothing is
kept), planner. Then every third layer alone is kept, and the others are asked. Copies are exact.

*faster way*: the planner's way (read, rerun, or a rerun from what is read: both) has the smallest
median, or is within 10 % of it. *regret*: the seconds of the planner's ways above those of the
fastest, over the latter. *prediction*: what the plan said over what its steps took.

Then the tables of four pipelines (benchmarks/pipelines): each read, and computed from the sources.
"""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Report, run_report
from flor.intermediate.handle import Handle
from flor.intermediate.planning.plan import Plan
from flor.intermediate.storage.store import IntermediateStore

WIDTHS = (16, 16, "M", 32, 32, "M", 64, 64, "M", 128, 128, "M")
NEAR = 1.1

Ask = Callable[[Handle, str, Any, int], Any]


def kinds(labels: Any, masks: Any) -> dict[str, Ask]:
    """Return the queries: (handle, layer, rows, one row) → Result."""
    return {
        "point": lambda h, layer, rows, row: h.point(layer, row, 0),
        "topk": lambda h, layer, rows, row: h.topk(layer, 0, 10, rows=rows),
        "col_dist": lambda h, layer, rows, row: h.col_dist(layer, 0, rows=rows),
        "col_diff": lambda h, layer, rows, row: h.col_diff(h, layer, 0, rows=rows),
        "row_diff": lambda h, layer, rows, row: h.row_diff(layer, row, 1),
        "knn": lambda h, layer, rows, row: h.knn(layer, row, 10, rows=rows),
        "vis": lambda h, layer, rows, row: h.vis(layer, labels, rows=rows),
        "corr": lambda h, layer, rows, row: h.corr(layer, [0, 1], rows=rows),
        "svcca": lambda h, layer, rows, row: h.svcca(layer, h, rows=rows),
        "netdissect": lambda h, layer, rows, row: h.netdissect(layer, masks, rows=rows, units=[0]),
    }


def features(channels: int) -> list[Any]:
    """Return the convolutions of a VGG at a quarter of its width, for images of 32 × 32."""
    from torch import nn

    layers: list[Any] = []
    for width in WIDTHS:
        if width == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, int(width), 3, padding=1), nn.ReLU()]
            channels = int(width)
    return layers


def network(rows: int) -> tuple[Any, Any]:
    """Return (net, images): VGG at a quarter of its width, 32 × 32 images."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    head = [nn.Flatten(), nn.Linear(128 * 4, 256), nn.ReLU(), nn.Linear(256, 10)]
    return nn.Sequential(*features(3), *head), torch.randn(rows, 3, 32, 32)


class Unable:
    """The same computation, where nothing can be computed: what is asked must be read."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def seconds(self, layer: str, rows: int, given: Any) -> float:
        return math.inf


def keep(store: IntermediateStore, computation: Any, layers: list[str]) -> None:
    for layer in layers:
        ids, values = computation.compute(layer, None, {})
        writer = store.writer(computation.key(layer), computation.form(layer))
        writer.append(ids, values)
        writer.commit(complete=True)


def timed(ask: Ask, handle: Handle, layer: str, rows: Any, row: int) -> tuple[float, Plan]:
    start = time.perf_counter()
    result = ask(handle, layer, rows, row)
    return time.perf_counter() - start, result.plan


def cell(
    ask: Ask, ways: dict[str, Handle], layer: str, rows: Any, row: int, rounds: int
) -> dict[str, Any]:
    """Return the medians of one query in each way; the first round warms up and is not counted."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    plan = None
    parts = []
    for number in range(rounds + 1):
        for name, handle in ways.items():
            seconds, made = timed(ask, handle, layer, rows, row)
            if number:
                took[name].append(seconds)
            if name == "planner":
                plan = made
                if number and made.actual:
                    parts.append(made.seconds / made.actual)
    assert plan is not None
    median = {name: statistics.median(every) for name, every in took.items()}
    ways_taken = {"read" if step.way == "bounds" else step.way for step in plan.steps}
    way = "both" if len(ways_taken) > 1 else ways_taken.pop()
    chosen = median["planner" if way == "both" else way]
    return {**median, "way": way, "chosen": chosen, "part": statistics.median(parts)}


def matrix(report: Report, store: IntermediateStore, net: Any, images: Any, rounds: int) -> None:
    from flor.intermediate.networks.network import Network

    computation = Network(net, images, batch=256)
    every = list(computation.layers())
    chosen = {"first": every[0], "middle": every[len(every) // 2], "last": every[-1]}
    keep(store, computation, list(chosen.values()))
    ways = {
        "read": Handle(store, Unable(computation), adaptive=False),
        "rerun": Handle(None, computation),
        "planner": Handle(store, computation, adaptive=False),
    }
    rng = np.random.default_rng(1)
    total = len(computation.row_ids)
    labels = rng.integers(0, 10, total)
    masks = {"half": rng.random((total, 32, 32)) > 0.5}
    found = []
    for place, layer in chosen.items():
        for count in sorted({100, min(1000, total), total}):
            picked = None if count == total else np.sort(rng.permutation(total)[:count])
            for kind, ask in kinds(labels, masks).items():
                if kind == "netdissect" and len(computation.form(layer).unit_shape or ()) != 3:
                    continue
                row = int(picked[0]) if picked is not None else 0
                one = cell(ask, ways, layer, picked, row, rounds)
                found.append({"query": kind, "layer": place, "rows": count, **one})
                print(found[-1], flush=True)
    report.add("Cells, seconds", [rounded(one) for one in found])
    report.add("Summary", summary(found))


def rounded(row: dict[str, Any]) -> dict[str, Any]:
    ratio = row["rerun"] / row["read"]
    row = {name: f"{it:.3g}" if isinstance(it, float) else it for name, it in row.items()}
    return {**row, "rerun / read": f"{ratio:.3g}"}


def summary(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    best = [min(one["read"], one["rerun"], one["chosen"]) for one in found]
    right = [one["chosen"] <= NEAR * least for one, least in zip(found, best, strict=True)]
    regret = sum(one["chosen"] for one in found) / sum(best) - 1
    near = [0.5 <= one["part"] <= 2 for one in found]
    last = [one["rerun"] / one["read"] for one in found if one["layer"] == "last"]
    return [
        {"figure": "cells", "value": len(found)},
        {"figure": "faster way taken, %", "value": round(100 * statistics.mean(right), 1)},
        {"figure": "regret, %", "value": round(100 * regret, 1)},
        {"figure": "prediction within 2 ×, %", "value": round(100 * statistics.mean(near), 1)},
        {"figure": "rerun / read, last layer, median", "value": round(statistics.median(last), 1)},
        {"figure": "rerun / read, last layer, least", "value": round(min(last), 1)},
    ]


def ancestors(report: Report, folder: Path, net: Any, images: Any, rounds: int) -> None:
    """Keep every third layer, ask the others: from the ancestor, from the input, as if kept."""
    from flor.intermediate.networks.network import Network

    computation = Network(net, images, batch=256)
    layers = list(computation.layers())
    some = IntermediateStore.open(folder / "some", create=True)
    keep(some, computation, layers[::3])
    every = IntermediateStore.open(folder / "every", create=True)
    keep(every, computation, layers)
    ways = {
        "ancestor": Handle(some, computation, adaptive=False),
        "input": Handle(None, computation),
        "read": Handle(every, Unable(computation), adaptive=False),
    }
    rows = []
    for layer in [one for one in layers if one not in layers[::3]]:
        took: dict[str, list[float]] = {name: [] for name in ways}
        plan = None
        for number in range(rounds + 1):
            for name, handle in ways.items():
                seconds, made = timed(lambda h, *a: h.read(a[0]), handle, layer, None, 0)
                if number:
                    took[name].append(seconds)
                plan = made if name == "ancestor" else plan
        assert plan is not None
        median = {name: round(statistics.median(it), 3) for name, it in took.items()}
        given = ", ".join(step.layer for step in plan.steps if step.way == "read")
        rows.append({"layer": layer, **median, "from": given or "the input"})
    report.add("Every third layer kept: all rows of the others, seconds", rows)
    some.close()
    every.close()


def stages(report: Report, folder: Path, quick: bool) -> None:
    """Read tables of some pipelines, whole and a column, and run to them from the sources."""
    from benchmarks.pipelines.data import tables
    from benchmarks.pipelines.templates import pipelines
    from flor.intermediate.pipelines.stages import run

    data = tables(3000, 2000) if quick else tables()
    rows = []
    for name, template, setting in list(pipelines())[:4]:
        with IntermediateStore.open(folder / name, create=True) as store:
            graph = run(partial(template, **setting), data, store)
            ways = {"read": Handle(store, Unable(graph)), "rerun": Handle(None, graph)}
            for layer in [one for one in graph.layers() if graph.parents(one)]:
                asked = {"table": None, "column": graph.form(layer).parts[-1].name}
                for what, units in asked.items():
                    took = stage(ways, layer, units)
                    rows.append({"pipeline": name, "stage": layer, "of it": what, **took})
    report.add("Stages of pipelines, seconds", [rounded(one) for one in rows])
    report.add("Stages: rerun / read", [ratios(rows, what) for what in ("table", "column")])


def stage(ways: dict[str, Handle], layer: str, units: Any) -> dict[str, float]:
    """Return the seconds of each way, the better of two."""
    took = dict.fromkeys(ways, math.inf)
    for _ in range(2):
        for way, handle in ways.items():
            seconds, _plan = timed(lambda h, *a: h.read(a[0], units=units), handle, layer, None, 0)
            took[way] = min(took[way], seconds)
    return took


def ratios(rows: list[dict[str, Any]], what: str) -> dict[str, Any]:
    found = [one["rerun"] / one["read"] for one in rows if one["of it"] == what]
    return {
        "of it": what,
        "stages": len(found),
        "least": round(min(found), 2),
        "median": round(statistics.median(found), 1),
        "most": round(max(found), 1),
        "2.5 and more, %": round(100 * statistics.mean(one >= 2.5 for one in found), 1),
    }


def measure(quick: bool) -> Report:
    report = Report("query_speed", (__doc__ or "").partition("\n")[0])
    rounds = 1 if quick else 3
    net, images = network(300 if quick else 3000)
    with tempfile.TemporaryDirectory() as temporary:
        with IntermediateStore.open(Path(temporary) / "matrix", create=True) as store:
            matrix(report, store, net, images, rounds)
        ancestors(report, Path(temporary), net, images[: len(images) // 3], rounds)
        stages(report, Path(temporary), quick)
    report.notes.append("copies are exact; the network runs in batches of 256 rows")
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
