"""The plan of a query: what is read, what is computed, in which order, for how many seconds.

Least cost over the graph of layers: a kept copy whose error satisfies the query is read, or the
layer is computed from the nearest ancestors that are kept exactly, from a checkpoint, or from the
input, which is the computation's to know. Ancestors that two layers share are had once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from flor.errors import InvalidError
from flor.intermediate.computation import Computation
from flor.intermediate.forms import Form
from flor.intermediate.planning.cost import Costs, Price
from flor.intermediate.planning.cut import Choice, choose
from flor.intermediate.planning.selection import Selection, select

if TYPE_CHECKING:
    from flor.intermediate.storage.kept import Kept
    from flor.intermediate.storage.store import IntermediateStore

# "exact": the bits that were computed. A number: no value is farther off. "any": what is cheapest.
Accuracy = Literal["exact", "any"] | float


@dataclass(frozen=True)
class Want:
    """A layer, some units of it, and how exact they must be.

    ``bounded``: the query is answered exactly from a lossy copy too, with its bounds.
    """

    layer: str
    selection: Selection
    accuracy: Accuracy = "exact"
    bounded: bool = False


@dataclass
class Step:
    """One act of a plan.

    ``rows``: row ids, None for all; ``count``: how many. ``price``: predicted; ``actual``: seconds
    that it took, None before. ``given``: layers of earlier steps that a rerun begins at. A step by
    bounds reads a lossy copy; the steps after it get the rows that it leaves undecided.
    """

    way: Literal["read", "rerun", "bounds"]
    layer: str
    rows: NDArray[Any] | None
    count: int
    price: Price
    selection: Selection
    kept: Kept | None = None
    given: tuple[str, ...] = ()
    actual: float | None = None

    @property
    def seconds(self) -> float:
        """Predicted."""
        return self.price.seconds


@dataclass
class Plan:
    """Steps in order. ``rows``: row ids, None for all. ``rejected``: what would have cost more.

    ``kind``: of the query, where what it will need is learned from earlier ones of the kind.
    """

    wants: tuple[Want, ...]
    rows: NDArray[Any] | None
    steps: list[Step]
    rejected: list[tuple[str, float]] = field(default_factory=list)
    kind: str = ""

    @property
    def seconds(self) -> float:
        """Predicted."""
        return sum(step.seconds for step in self.steps)

    @property
    def actual(self) -> float | None:
        """Measured; None before all steps were done."""
        taken = [step.actual for step in self.steps]
        return None if None in taken else sum(one for one in taken if one is not None)

    @property
    def error(self) -> float:
        """The most that a value of a wanted layer may be off; NaN where not known."""
        wanted = {want.layer for want in self.wants}
        errors = [
            step.kept.error
            for step in self.steps
            if step.kept is not None and step.way == "read" and step.layer in wanted
        ]
        return float(np.max(errors)) if errors else 0.0

    def __str__(self) -> str:
        from flor.intermediate.planning.explain import text

        return text(self)


class Planner:
    """Makes plans over a store and a computation. Thread-safe if the computation is."""

    def __init__(
        self, store: IntermediateStore | None, computation: Computation, costs: Costs
    ) -> None:
        self.store = store
        self._forms: dict[str, Form] = {}
        self.computation = computation
        self.costs = costs

    def form(self, layer: str) -> Form:
        """Return the form of a layer; LookupError names the nearest for one that is unknown."""
        if layer not in self._forms:
            self._forms[layer] = self.computation.form(layer)
        return self._forms[layer]

    def want(self, layer: str, units: Any = None, accuracy: Accuracy = "exact") -> Want:
        """Return a want; InvalidError for units that are not there or an accuracy unknown."""
        return Want(layer, select(layer, self.form(layer), units), checked(accuracy))

    def plan(self, wants: Sequence[Want], rows: NDArray[Any] | None) -> Plan:
        """Return the plan of least predicted cost.

        Raises InvalidError when a layer is kept only less exactly than asked and can't be computed.
        """
        made = self._make(wants, rows)
        if isinstance(made, Plan):
            return made
        raise self._impossible(made, wants)

    def possible(self, wants: Sequence[Want], rows: NDArray[Any] | None) -> Plan | None:
        """Return the same, or None where there is no way."""
        made = self._make(wants, rows)
        return made if isinstance(made, Plan) else None

    def _make(self, wants: Sequence[Want], rows: NDArray[Any] | None) -> Plan | str:
        """Return the plan, or the layer that can't be had."""
        by_layer = {want.layer: want for want in wants}
        taken = self.taken(rows)
        if len(by_layer) == 1:
            plan = self._obvious(wants[0], rows, self.count(taken))
            if plan is not None:
                return plan
        graph = self._graph(by_layer, rows, taken)
        chosen = choose(by_layer, graph.parents, graph.read, graph.compute)
        missing = graph.missing(chosen)
        if missing is not None:
            return missing
        steps = self._steps(graph, by_layer, chosen.computed)
        plan = Plan(tuple(wants), rows, steps)
        plan.rejected = self._others(plan, by_layer, graph)
        return plan

    def taken(self, rows: NDArray[Any] | None) -> NDArray[Any] | None:
        """Return the rows that a rerun of these computes: what is computed together."""
        return None if rows is None else self.computation.together(rows)

    def count(self, rows: NDArray[Any] | None) -> int:
        """Return how many rows that is."""
        return len(self.computation.row_ids if rows is None else rows)

    def copies(self, want: Want, rows: NDArray[Any] | None, *, lossy: bool = False) -> list[Kept]:
        """Return the kept copies that hold these units and rows, exactly enough (or at all)."""
        if self.store is None:
            return []
        found = self.store.find(self.computation.key(want.layer))
        return [
            kept
            for kept in found
            if holds(kept, want.selection)
            and covers(kept, rows, len(self.computation.row_ids))
            and (lossy or exact_enough(kept, want.accuracy))
        ]

    def cheapest(
        self, copies: Sequence[Kept], want: Want, rows: NDArray[Any] | None, way: str = "read"
    ) -> tuple[Kept, Price] | None:
        """Return the copy that is read fastest, and its price."""
        priced = [(kept, self.costs.read(kept, rows, want.selection, way)) for kept in copies]
        return min(priced, key=lambda one: one[1].seconds, default=None)

    def _read(self, want: Want, rows: NDArray[Any] | None) -> Step | None:
        count = self.count(rows)
        best = self.cheapest(self.copies(want, rows), want, rows)
        if best is None:
            return None
        return Step("read", want.layer, rows, count, best[1], want.selection, best[0])

    def _obvious(self, want: Want, rows: NDArray[Any] | None, batch: int) -> Plan | None:
        """Return a read where no plan can beat it: it costs less than the layer's own step."""
        step = self._read(want, rows)
        own = self._step(want.layer, batch, self.computation.parents(want.layer))
        if step is None or step.seconds > own:
            return None
        rerun = self.costs.rerun(self.computation, want.layer, batch, frozenset())
        return Plan((want,), rows, [step], [("rerun from the input", rerun.seconds)])

    def _graph(
        self, wanted: dict[str, Want], rows: NDArray[Any] | None, taken: NDArray[Any] | None
    ) -> _Graph:
        """Return what each layer costs. What others are computed from is read whole and exactly."""
        parents = self._ancestors(wanted)
        inner = {name for names in parents.values() for name in names}
        reads = {}
        for layer in parents:
            if layer in inner or layer not in wanted:
                reads[layer] = self._read(self.want(layer), taken)
            else:
                reads[layer] = self._read(wanted[layer], rows)
        batch = self.count(taken)
        compute = {layer: self._step(layer, batch, parents[layer]) for layer in parents}
        return _Graph(parents, {k: v for k, v in reads.items() if v is not None}, compute, taken)

    def _step(self, layer: str, count: int, parents: Sequence[str]) -> float:
        return self.costs.rerun(self.computation, layer, count, frozenset(parents)).seconds

    def _ancestors(self, layers: Any) -> dict[str, Sequence[str]]:
        found: dict[str, Sequence[str]] = {}
        stack = list(layers)
        while stack:
            layer = stack.pop()
            if layer not in found:
                found[layer] = tuple(self.computation.parents(layer))
                stack += found[layer]
        return found

    def _impossible(self, layer: str, wants: Sequence[Want]) -> InvalidError:
        kept = self.store.find(self.computation.key(layer)) if self.store else []
        has = ", ".join(f"{one.code}, {one.rows} rows, error {one.error:.3g}" for one in kept)
        asked = next((str(one.accuracy) for one in wants if one.layer == layer), "exact")
        return InvalidError(
            f"{layer!r} can't be computed again here, and what is kept of it ({has or 'nothing'}) "
            f"does not answer these rows and units with accuracy {asked!r}; ask accuracy='any', "
            "or give the model and the data"
        )

    def _steps(
        self, graph: _Graph, wanted: dict[str, Want], computed: frozenset[str]
    ) -> list[Step]:
        """Return the reads, then what is computed, ancestors first."""
        order = {layer: at for at, layer in enumerate(self.computation.layers())}
        made = _materialized(set(wanted) & computed, graph.parents, computed)
        reads = {layer: graph.reads[layer] for layer in wanted if layer not in computed}
        reruns = []
        count = self.count(graph.taken)
        for layer in sorted(made, key=lambda one: order.get(one, -1)):
            given = _frontier(layer, graph.parents, computed, made)
            reads |= {name: graph.reads[name] for name in given if name not in computed}
            price = self.costs.rerun(self.computation, layer, count, frozenset(given))
            whole = self.want(layer).selection
            reruns.append(Step("rerun", layer, graph.taken, count, price, whole, given=given))
        return [*reads.values(), *reruns]

    def _others(
        self, plan: Plan, wanted: dict[str, Want], graph: _Graph
    ) -> list[tuple[str, float]]:
        """Return the two ways that are no mixture, where the plan is another."""
        found = []
        if any(step.way == "read" or step.given for step in plan.steps):
            count, nothing = self.count(graph.taken), frozenset[str]()
            prices = [self.costs.rerun(self.computation, name, count, nothing) for name in wanted]
            found.append(("rerun from the input", sum(one.seconds for one in prices)))
        if any(step.way == "rerun" for step in plan.steps) and wanted.keys() <= graph.reads.keys():
            found.append(("read", sum(graph.reads[layer].seconds for layer in wanted)))
        return found


@dataclass(frozen=True)
class _Graph:
    """Layers that may matter: parents, the best read of each, seconds of computing each."""

    parents: dict[str, Sequence[str]]
    reads: dict[str, Step]
    compute: dict[str, float]
    taken: NDArray[Any] | None

    @property
    def read(self) -> dict[str, float]:
        return {layer: step.seconds for layer, step in self.reads.items()}

    def missing(self, chosen: Choice) -> str | None:
        """Return a layer that was chosen although there is no way to it."""
        lost = [layer for layer in chosen.read if layer not in self.reads]
        lost += [layer for layer in chosen.computed if math.isinf(self.compute[layer])]
        return min(lost, default=None)


def checked(accuracy: Any) -> Accuracy:
    """Return the accuracy; InvalidError where it is none."""
    if accuracy in ("exact", "any"):
        return accuracy  # type: ignore[no-any-return]
    if isinstance(accuracy, int | float) and accuracy >= 0 and not isinstance(accuracy, bool):
        return float(accuracy)
    raise InvalidError(
        f"accuracy is 'exact', 'any', or the most that a value may be off (0 or more), "
        f"not {accuracy!r}"
    )


def exact_enough(kept: Kept, accuracy: Accuracy) -> bool:
    """Return whether a copy satisfies an accuracy; an unknown error satisfies only 'any'."""
    if kept.code == "exact" or accuracy == "any":
        return True
    return accuracy != "exact" and kept.error <= accuracy


def holds(kept: Kept, selection: Selection) -> bool:
    """Return whether a copy has these units, in the shape that the layer has."""
    if kept.form.unit_shape != selection.form.unit_shape:
        return False
    if kept.form.parts == selection.form.parts:
        return True
    names = {part.name for part in kept.form.parts}
    return kept.form.unit_shape is None and names.issuperset(selection.columns)


def covers(kept: Kept, rows: NDArray[Any] | None, total: int) -> bool:
    """Return whether a copy has these rows, None: all rows of the data, of which there are so many.

    A stage that drops rows is kept whole with fewer, and says so by the label ``complete``.
    """
    if kept.rows == total or kept.labels.get("complete"):
        return True
    return rows is not None and bool(np.isin(rows, kept.row_ids()).all())


def _frontier(
    layer: str, parents: dict[str, Sequence[str]], computed: frozenset[str], made: set[str]
) -> tuple[str, ...]:
    """Return the nearest ancestors that are at hand: read, or computed before."""
    found: dict[str, None] = {}
    stack, seen = list(parents[layer]), set()
    while stack:
        name = stack.pop(0)
        if name in seen:
            continue
        seen.add(name)
        if name in made or name not in computed:
            found[name] = None
        else:
            stack += parents[name]
    return tuple(found)


def _materialized(
    targets: set[str], parents: dict[str, Sequence[str]], computed: frozenset[str]
) -> set[str]:
    """Return what is computed by itself: the targets, and where the ways to them part."""
    reached: dict[str, set[str]] = {layer: set() for layer in computed}
    for target in targets:
        stack = [target]
        while stack:
            name = stack.pop()
            if target not in reached[name]:
                reached[name].add(target)
                stack += [one for one in parents[name] if one in computed]
    shared = {name for name, into in reached.items() if len(into) > 1}
    children: dict[str, set[frozenset[str]]] = {name: set() for name in shared}
    for name in computed:
        for parent in parents[name]:
            if parent in shared:
                children[parent].add(frozenset(reached[name]))
    return targets | {name for name in shared if len(children[name]) > 1}
