"""What does a store that starts empty keep, and how fast does it answer, beside keeping all?

Random queries to pipelines over made-up homes (benchmarks/pipelines): each is drawn, with equal
chances, from a pool: (pipeline, stage, column, kind). Every subject answers the same ones in the
same order, turn by turn:

*flor*: empty at the start, its budget a tenth of what *dedup-all* takes. *dedup-all*: every table
of every pipeline in a flor store. *store-all*: every column of every table uncompressed, as .npy
(those of the pool are written, the bytes of all are counted). *LRU*: empty, the budget of flor,
columns kept as they are asked, the least recently asked goes. *never*: nothing is kept.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.harness import Report, run_report
from benchmarks.pipelines.data import tables
from benchmarks.pipelines.templates import pipelines
from flor.intermediate.handle import Handle
from flor.intermediate.pipelines.stages import run
from flor.intermediate.storage.store import IntermediateStore

QUERIES = 140
POOL = 30
SHARE = 0.10
KINDS: dict[str, Callable[[Handle, str, str], Any]] = {
    "read": lambda h, layer, column: h.read(layer, units=column),
    "topk": lambda h, layer, column: h.topk(layer, column, 10),
    "col_dist": lambda h, layer, column: h.col_dist(layer, column),
}


@dataclass(frozen=True)
class Question:
    pipeline: str
    layer: str
    column: str
    kind: str


class Subject(Protocol):
    @property
    def nbytes(self) -> int: ...

    def ask(self, question: Question) -> None: ...


def on_disk(store: IntermediateStore) -> int:
    """Return the bytes of a store's packs and catalogue, after what was removed was given back."""
    root = store.layout.root
    store.close()
    command = [sys.executable, "-m", "flor", "gc", "--store", str(root)]
    subprocess.run(command, check=True, capture_output=True)
    found = [*(root / "packs").iterdir(), root / "intermediates" / "catalogue.sqlite"]
    return sum(path.stat().st_size for path in found)


class Flor:
    """A store and a handle a pipeline; adaptive, or as it was filled."""

    def __init__(self, store: IntermediateStore, graphs: dict[str, Any], budget: int | None):
        self.store, adaptive = store, budget is not None
        self.handles = {
            name: Handle(store, graph, budget=budget, adaptive=adaptive)
            for name, graph in graphs.items()
        }

    @property
    def nbytes(self) -> int:
        return on_disk(self.store)

    def ask(self, question: Question) -> None:
        handle = self.handles[question.pipeline]
        KINDS[question.kind](handle, question.layer, question.column)


class Lru:
    """Keeps each column that is asked; what was not asked for longest goes."""

    def __init__(self, store: IntermediateStore, graphs: dict[str, Any], budget: int):
        self.store, self.graphs, self.budget = store, graphs, budget
        self.handles = {
            name: Handle(store, graph, adaptive=False) for name, graph in graphs.items()
        }
        self.kept: OrderedDict[tuple[str, str, str], Any] = OrderedDict()

    @property
    def nbytes(self) -> int:
        return on_disk(self.store)

    def ask(self, question: Question) -> None:
        handle = self.handles[question.pipeline]
        KINDS[question.kind](handle, question.layer, question.column)
        name = (question.pipeline, question.layer, question.column)
        if name not in self.kept:
            self.kept[name] = self._keep(question, handle)
        self.kept.move_to_end(name)
        while sum(one.nbytes for one in self.kept.values()) > self.budget:
            self.store.remove(self.kept.popitem(last=False)[1])

    def _keep(self, question: Question, handle: Handle) -> Any:
        graph = self.graphs[question.pipeline]
        ids, values = graph.compute(question.layer, None, {})
        want = handle.access.planner.want(question.layer, question.column)
        form = type(want.selection.form)(
            tuple(part for part in want.selection.form.parts if part.name == question.column)
        )
        writer = self.store.writer(graph.key(question.layer), form)
        writer.append(ids, {question.column: values[question.column]})
        return writer.commit(complete=True)


class Files:
    """Columns as .npy files."""

    def __init__(self, folder: Path, graphs: dict[str, Any], pool: list[Question]):
        self.folder = folder
        self.nbytes = sum(
            graph.form(layer).row_bytes * len(graph.rows(layer))
            for graph in graphs.values()
            for layer in graph.layers()
        )
        for one in pool:
            graph = graphs[one.pipeline]
            _, values = graph.compute(one.layer, None, {})
            np.save(self._path(one), np.asarray(values[one.column]))

    def _path(self, one: Question) -> Path:
        return self.folder / f"{one.pipeline}-{one.layer}-{one.column}.npy".replace("/", "_")

    def ask(self, question: Question) -> None:
        values = np.load(self._path(question))
        if question.kind == "topk":
            np.argsort(-values.astype(np.float64))[:10]
        elif question.kind == "col_dist":
            finite = values[np.isfinite(values)].astype(np.float64)
            np.histogram(finite, 50)
            np.quantile(finite, [0, 0.25, 0.5, 0.75, 1])


class Never:
    nbytes = 0

    def __init__(self, graphs: dict[str, Any]):
        self.handles = {name: Handle(None, graph) for name, graph in graphs.items()}

    def ask(self, question: Question) -> None:
        handle = self.handles[question.pipeline]
        KINDS[question.kind](handle, question.layer, question.column)


def pool_of(graphs: dict[str, Any], rng: Any) -> list[Question]:
    """Return distinct questions about columns of numbers."""
    every = [
        Question(name, layer, part.name, kind)
        for name, graph in graphs.items()
        for layer in graph.layers()
        for part in graph.form(layer).parts
        if np.dtype(part.dtype).kind == "f"
        for kind in KINDS
    ]
    return [every[at] for at in rng.choice(len(every), POOL, replace=False)]


def measure(quick: bool) -> Report:
    report = Report("adaptive_store", (__doc__ or "").partition("\n")[0])
    data = tables(3000, 2000) if quick else tables()
    chosen = [
        (name, partial(template, **setting))
        for name, template, setting in list(pipelines())[: 3 if quick else 10]
    ]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        full = IntermediateStore.open(folder / "full", create=True)
        graphs = {name: run(pipeline, data, full) for name, pipeline in chosen}
        rng = np.random.default_rng(5)
        pool = pool_of(graphs, rng)
        order = [pool[at] for at in rng.integers(0, POOL, QUERIES)]
        everything = Flor(full, graphs, None)
        budget = int(sum(one.nbytes for one in full.find()) * SHARE)
        stores = [IntermediateStore.open(folder / name, create=True) for name in ("flor", "lru")]
        subjects: dict[str, Subject] = {
            "flor": Flor(stores[0], graphs, budget),
            "dedup-all": everything,
            "store-all": Files(folder, graphs, pool),
            "LRU": Lru(stores[1], graphs, budget),
            "never": Never(graphs),
        }
        report.add("Subjects", compared(subjects, order))
    report.notes.append(
        f"{len(chosen)} pipelines, {QUERIES} queries drawn from {POOL}; seconds a query"
    )
    return report


def compared(subjects: dict[str, Subject], order: list[Question]) -> list[dict[str, Any]]:
    took: dict[str, list[float]] = {name: [] for name in subjects}
    names = list(subjects)
    for number, question in enumerate(order):
        for at in range(len(names)):
            name = names[(at + number) % len(names)]
            start = time.perf_counter()
            subjects[name].ask(question)
            took[name].append(time.perf_counter() - start)
    third = len(order) // 3
    sizes = {name: subject.nbytes for name, subject in subjects.items()}
    all_kept = statistics.mean(took["dedup-all"][-third:])
    return [
        {
            "subject": name,
            "MB": round(sizes[name] / 1e6, 2),
            "part of dedup-all": round(sizes[name] / sizes["dedup-all"], 3),
            "mean": f"{statistics.mean(every):.3g}",
            "mean, first third": f"{statistics.mean(every[:third]):.3g}",
            "mean, last third": f"{statistics.mean(every[-third:]):.3g}",
            "last third / dedup-all": f"{statistics.mean(every[-third:]) / all_kept:.3g}",
        }
        for name, every in took.items()
    ]


if __name__ == "__main__":
    run_report(measure, __doc__)
