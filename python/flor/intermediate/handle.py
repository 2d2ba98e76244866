"""What users ask: a handle on the intermediates of one model over one dataset.

    Handle(store, computation)                      # all layers of the computation
    Handle(store, computation, ["conv1", "fc"])     # these alone are listed and asked
    Handle(None, computation)                       # nothing is read or kept, all is computed

``flor.intermediates`` makes one, for networks and for pipelines. A handle reads what the store has,
computes what it has not, whichever is cheaper, and leaves in the store what pays for its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from flor.errors import CorruptError, InvalidError, LayerNotFoundError
from flor.intermediate.planning.access import Access
from flor.intermediate.planning.cost import Costs
from flor.intermediate.planning.ledger import Ledger
from flor.intermediate.planning.materialize import LEAST_GAMMA, Materializer, Policy
from flor.intermediate.planning.plan import Accuracy, Plan, Planner
from flor.intermediate.planning.selection import nearest
from flor.intermediate.queries import QUERIES, Job, Query
from flor.intermediate.queries.columns import ColDiff, ColDist
from flor.intermediate.queries.correlation import Corr
from flor.intermediate.queries.dissect import NetDissect
from flor.intermediate.queries.neighbours import Knn
from flor.intermediate.queries.reading import Point, Read, RowDiff
from flor.intermediate.queries.similarity import Svcca
from flor.intermediate.queries.sql import Sql
from flor.intermediate.queries.top import Above, TopK
from flor.intermediate.queries.visual import Vis
from flor.intermediate.result import Result

if TYPE_CHECKING:
    from flor.intermediate.computation import Computation
    from flor.intermediate.storage.store import IntermediateStore

LEDGER = "planner.sqlite"


class Handle:
    """The intermediates of a model over a dataset. Thread-safe if the computation is.

    ``layers``: those that may be asked, None for all. ``code``: how results of reruns are kept
    where a query does not need them exactly. ``budget``: bytes that they may take in the store
    (``"500M"``), None for 1 GiB; ``gamma``: the seconds that a byte must save;
    ``adaptive=False``: nothing is kept but what the user captures.

    Everywhere: ``rows`` are row ids, a slice of positions, a mask, or None for all; ``units`` a
    channel or unit, several, a tuple (channel, y, x), column names, or None for all; ``accuracy``
    is ``"exact"``, the most that a value may be off, or ``"any"``. Raises LayerNotFoundError,
    RowNotFoundError and InvalidError before anything is computed.
    """

    def __init__(
        self,
        store: IntermediateStore | None,
        computation: Computation,
        layers: Sequence[str] | None = None,
        *,
        code: str = "affine8",
        budget: float | str | None = None,
        gamma: float = LEAST_GAMMA,
        adaptive: bool = True,
    ) -> None:
        self.store = store
        self.computation = computation
        known = list(computation.layers())
        for name in layers or ():
            if name not in known:
                raise _unknown(name, known)
        self.layers = known if layers is None else list(layers)
        writable = store is not None and not store.readonly
        self._ledger = Ledger(store.folder / LEDGER if store is not None and writable else None)
        costs = Costs(self._ledger)
        self._materializer = None
        policy = Policy.of(budget, gamma, code)
        if store is not None and writable and adaptive:
            self._materializer = Materializer(store, computation, costs, self._ledger, policy)
        self.access = Access(Planner(store, computation, costs), self._ledger, self._materializer)
        self._last: Plan | None = None

    def read(
        self, layer: str, rows: Any = None, units: Any = None, accuracy: Accuracy = "exact"
    ) -> Result:
        """Return values (rows, units) in the shape that the layer has; columns of a table."""
        return self.ask(Read(self._known(layer), rows, units, accuracy))

    def point(self, layer: str, row: int, unit: Any = None, accuracy: Accuracy = "exact") -> Result:
        """Return a unit of a row; ``.item()`` is the number."""
        return self.ask(Point(self._known(layer), row, unit, accuracy))

    def topk(
        self,
        layer: str,
        unit: Any,
        k: int = 10,
        *,
        largest: bool = True,
        reduce: Literal["max", "mean"] = "max",
        rows: Any = None,
        accuracy: Accuracy = "exact",
    ) -> Result:
        """Return the k rows that excite a unit most; a channel by its largest cell, or its mean."""
        return self.ask(TopK(self._known(layer), unit, k, largest, reduce, rows, accuracy))

    def above(
        self,
        layer: str,
        unit: Any,
        value: float,
        *,
        reduce: Literal["max", "mean"] = "max",
        rows: Any = None,
        accuracy: Accuracy = "exact",
    ) -> Result:
        """Return the rows whose unit exceeds a value: which is exact, values as ``error`` says."""
        return self.ask(Above(self._known(layer), unit, value, reduce, rows, accuracy))

    def col_diff(
        self,
        other: Handle,
        layer: str,
        unit: Any = None,
        *,
        other_layer: str | None = None,
        k: int | None = None,
        rows: Any = None,
        accuracy: Accuracy = "exact",
    ) -> Result:
        """Return this model's values minus another's, row by row; ``k``: the largest alone."""
        other._known(other_layer or layer)
        return self.ask(ColDiff(other, self._known(layer), unit, other_layer, k, rows, accuracy))

    def col_dist(
        self,
        layer: str,
        unit: Any = None,
        *,
        bins: int = 50,
        rows: Any = None,
        accuracy: Accuracy = "exact",
    ) -> Result:
        """Return the histogram of a unit's values."""
        return self.ask(ColDist(self._known(layer), unit, bins, rows, accuracy))

    def knn(
        self,
        layer: str,
        row: int,
        k: int = 10,
        *,
        metric: Literal["l2", "l1", "cosine"] = "l2",
        units: Any = None,
        rows: Any = None,
        accuracy: Accuracy = "exact",
    ) -> Result:
        """Return the k rows nearest to a row in a layer's space, and their distances."""
        return self.ask(Knn(self._known(layer), row, k, metric, units, rows, accuracy))

    def row_diff(
        self, layer: str, row: int, other: int, units: Any = None, accuracy: Accuracy = "exact"
    ) -> Result:
        """Return a row minus another, a value a unit."""
        return self.ask(RowDiff(self._known(layer), row, other, units, accuracy))

    def vis(
        self,
        layer: str,
        by: Any,
        units: Any = None,
        *,
        rows: Any = None,
        accuracy: Accuracy = "exact",
    ) -> Result:
        """Return mean activations by class; ``by``: a label a row, or a dict by row id."""
        return self.ask(Vis(self._known(layer), by, units, rows, accuracy))

    def svcca(
        self,
        layer: str,
        other: Handle | None = None,
        other_layer: str | None = None,
        *,
        variance: float = 0.99,
        rows: Any = None,
        accuracy: Accuracy = "exact",
    ) -> Result:
        """Return how alike a layer is to one of another model, or another of this one: 0 to 1."""
        (other or self)._known(other_layer or layer)
        return self.ask(Svcca(self._known(layer), other, other_layer, variance, rows, accuracy))

    def corr(
        self,
        layer: str,
        units: Any = None,
        target: Any = None,
        *,
        rows: Any = None,
        accuracy: Accuracy = "exact",
    ) -> Result:
        """Return correlations of units with each other, or with a number a row."""
        return self.ask(Corr(self._known(layer), units, target, rows, accuracy))

    def netdissect(
        self,
        layer: str,
        masks: Mapping[str, Any],
        *,
        part: float = 0.005,
        units: Any = None,
        rows: Any = None,
        accuracy: Accuracy = "exact",
    ) -> Result:
        """Return how well each channel's strongest cells overlap each concept's masks."""
        return self.ask(NetDissect(self._known(layer), masks, part, units, rows, accuracy))

    def sql(self, query: str, accuracy: Accuracy = "exact") -> Result:
        """Return the answer of a SQL query (DuckDB's) in which layers are tables by name.

        Pipelines' tables have their columns, tensors the column ``values``; all have ``row_id``.
        """
        return self.ask(Sql(query, accuracy))

    def explain(self, query: str | None = None, *arguments: Any, **named: Any) -> Plan:
        """Return the plan of a query without carrying it out: ``h.explain("topk", "conv1", 5)``.

        Without arguments: that of the last query, with what it took. ``print`` shows it.
        """
        if query is None:
            if self._last is None:
                raise InvalidError("nothing was asked yet; explain('read', layer) plans a query")
            return self._last
        if query not in QUERIES:
            raise InvalidError(f"there is no query {query!r}; there are {', '.join(QUERIES)}")
        return _merged(QUERIES[query](*arguments, **named).jobs(self.access))

    def why(self, layer: str) -> str:
        """Return in words what is kept of a layer and why, or why not."""
        self._known(layer)
        if self._materializer is None:
            return "nothing is kept adaptively: there is no store, or adaptive=False"
        return self._materializer.why(self.computation.key(layer))

    def ask(self, query: Query) -> Result:
        """Return the answer of a query, its plan with it."""
        jobs = query.jobs(self.access)
        for job in jobs:
            for want in job.plan.wants:
                key = job.access.planner.computation.key(want.layer)
                job.access.ledger.asked(key, want.selection.columns)
        try:
            result = query.answer(jobs)
        except CorruptError:
            if not any(_vanished(job) for job in jobs):
                raise
            jobs = query.jobs(self.access)
            result = query.answer(jobs)
        result.plan = self._last = _merged(jobs)
        return result

    def close(self) -> None:
        """Let go of what the planner holds open; the store stays open."""
        self._ledger.close()

    def __repr__(self) -> str:
        rows = len(self.access.rows.ids)
        return f"<intermediates of {len(self.layers)} layers over {rows} rows>"

    def _known(self, layer: str) -> str:
        if layer not in self.layers:
            self.computation.key(layer)  # may know more: a module that never ran, or is no array
            raise _unknown(layer, self.layers)
        return layer


def _unknown(layer: Any, known: Sequence[str]) -> LayerNotFoundError:
    return LayerNotFoundError(
        f"there is no layer {layer!r}{nearest(str(layer), known)}; there are "
        + ", ".join(known[:12])
        + (f" and {len(known) - 12} others" if len(known) > 12 else "")
    )


def _vanished(job: Job) -> bool:
    """Return whether a copy that a plan reads was removed since it was made."""
    store = job.access.planner.store
    copies = [step.kept for step in job.plan.steps if step.kept is not None]
    if store is None:
        return False
    there = {one.number for kept in copies for one in store.find(kept.key)}
    return any(kept.number not in there for kept in copies)


def _merged(jobs: Sequence[Job]) -> Plan:
    """Return the plans of a query as one."""
    if len(jobs) == 1:
        return jobs[0].plan
    plans = [job.plan for job in jobs]
    return Plan(
        tuple(want for plan in plans for want in plan.wants),
        None,
        [step for plan in plans for step in plan.steps],
        [other for plan in plans for other in plan.rejected],
    )
