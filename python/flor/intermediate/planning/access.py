"""Carrying out plans: values of layers, with what it took told to those who learn from it.

Thread-safe if the computation is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flor.intermediate.planning.plan import Plan, Planner, Step, Want
from flor.intermediate.planning.rows import RowIndex
from flor.intermediate.progress import LONG, row_bar

if TYPE_CHECKING:
    from flor.intermediate.planning.ledger import Ledger
    from flor.intermediate.planning.materialize import Materializer, Offer
    from flor.intermediate.planning.selection import Selection
    from flor.intermediate.storage.kept import Kept

# Rows that are worked on at a time: a whole number of the batches and blocks that others cut.
CHUNK_ROWS = 4096
CHUNK_BYTES = 256 << 20

Rows = NDArray[Any] | None
Answer = tuple[NDArray[Any], Any]  # row ids, values of a want's units


class Access:
    """Plans and carries them out over one store and one computation."""

    def __init__(self, planner: Planner, ledger: Ledger, materializer: Materializer | None) -> None:
        self.planner = planner
        self.rows = RowIndex(planner.computation.row_ids)
        self.ledger = ledger
        self.materializer = materializer

    def fetch(self, plan: Plan) -> dict[str, Answer]:
        """Return, for each wanted layer, (row ids, values) of all the plan's rows."""
        pieces = list(self.stream(plan))
        if len(pieces) == 1:
            return pieces[0]
        return {want.layer: _joined([piece[want.layer] for piece in pieces]) for want in plan.wants}

    def stream(self, plan: Plan) -> Iterator[dict[str, Answer]]:
        """Yield the same in pieces of some rows, so that memory stays bounded."""
        spent = [0.0] * len(plan.steps)
        chunks = self._chunks(plan)
        offer = self.materializer.offer(plan) if self.materializer is not None else None
        try:
            with row_bar(_title(plan), plan.seconds, self.planner.count(plan.rows)) as tell:
                for rows in chunks:
                    found = self._piece(plan, rows, spent, offer)
                    yield found
                    tell(max((len(ids) for ids, _ in found.values()), default=0))
        except BaseException:
            if offer is not None:
                offer.drop()
            raise
        for step, seconds in zip(plan.steps, spent, strict=True):
            self._done(step, seconds)
        if offer is not None:
            offer.finish(sum(spent))

    @contextmanager
    def measured(self, step: Step) -> Iterator[None]:
        """Time a step that the caller carries out, and learn from it."""
        start = time.perf_counter()
        yield
        self._done(step, time.perf_counter() - start)

    def _done(self, step: Step, seconds: float) -> None:
        step.actual = seconds
        self.planner.costs.observe(step.price, seconds)

    def _piece(
        self, plan: Plan, rows: tuple[Rows] | None, spent: list[float], offer: Offer | None
    ) -> dict[str, Answer]:
        """Return the answers for some rows: ``rows`` None for those that each step names."""
        had: dict[str, Answer] = {}
        for at, step in enumerate(plan.steps):
            start = time.perf_counter()
            had[step.layer] = self._do(step, step.rows if rows is None else rows[0], had)
            spent[at] += time.perf_counter() - start
            if offer is not None and step.way == "rerun":
                offer.take(step.layer, *had[step.layer])
        asked = plan.rows if rows is None else None
        return {
            want.layer: self._told(want.layer, *_taken(want, had[want.layer], asked, plan))
            for want in plan.wants
        }

    def _told(self, layer: str, ids: NDArray[Any], values: Any) -> Answer:
        """Return columns of a table as the pipeline has them, which may be kept otherwise."""
        column = getattr(self.planner.computation, "column", None)
        if column is None or not isinstance(values, dict):
            return ids, values
        return ids, {name: np.asarray(column(layer, name, it)) for name, it in values.items()}

    def _do(self, step: Step, rows: Rows, had: dict[str, Answer]) -> Answer:
        if step.kept is not None:
            return read_units(step.kept, rows, step.selection, len(self.rows.ids))
        given = {name: had[name][1] for name in step.given}
        return self.planner.computation.compute(step.layer, rows, given)

    def _chunks(self, plan: Plan) -> list[tuple[Rows] | None]:
        """Return the rows of each piece; one piece for few rows, or where rows belong together."""
        if plan.rows is not None:
            return [None]
        ids = self.rows.ids
        widest = max((step.selection.row_bytes for step in plan.steps), default=1)
        per = CHUNK_BYTES // max(widest, 1)
        if plan.seconds > LONG:  # pieces of a second or so: the bar moves
            per = min(per, int(len(ids) / plan.seconds))
        per = max(per // CHUNK_ROWS, 1) * CHUNK_ROWS
        if len(ids) <= per or not self._apart(plan, ids[:per]):
            return [None]
        return [(ids[at : at + per],) for at in range(0, len(ids), per)]

    def _apart(self, plan: Plan, first: NDArray[Any]) -> bool:
        """Return whether some rows can be computed, and read, without the others."""
        if any(step.way == "rerun" for step in plan.steps):
            together = self.planner.computation.together(first)
            if together is None or len(together) != len(first):
                return False
        total = len(self.rows.ids)
        return all(step.kept is None or step.kept.rows == total for step in plan.steps)


def read_units(kept: Kept, rows: Rows, selection: Selection, total: int) -> Answer:
    """Return (row ids, values) of a kept copy, in the shape that the selection has.

    ``total``: rows of the data. Rows that a stage dropped are left out.
    """
    if rows is not None and kept.rows != total:
        rows = rows[np.isin(rows, kept.row_ids())]
    slices = selection.slices
    if slices is not None:
        ids, values = kept.read(rows, parts=slices)
        return ids, selection.shaped(values)
    ids, values = kept.read(rows, selection.asked)
    if isinstance(values, dict):
        return ids, {name: values[name] for name in selection.columns}
    return ids, values if selection.whole else selection.shaped(values)


def take_rows(ids: NDArray[Any], values: Any, rows: NDArray[Any]) -> Answer:
    """Return the values of ``rows``, in that order.

    Rows that are not there are left out; one that stands there several times comes each time.
    """
    if np.array_equal(ids, rows):
        return ids, values
    order = np.argsort(ids, kind="stable")
    begin = np.searchsorted(ids, rows, "left", sorter=order)
    counts = np.searchsorted(ids, rows, "right", sorter=order) - begin
    starts = np.repeat(begin - (np.cumsum(counts) - counts), counts)
    where = order[starts + np.arange(int(counts.sum()))]
    if isinstance(values, dict):
        return ids[where], {name: column[where] for name, column in values.items()}
    return ids[where], values[where]


def _taken(want: Want, had: Answer, rows: Rows, plan: Plan) -> Answer:
    """Return the wanted units of the wanted rows of what a step gave."""
    ids, values = had
    step = next(one for one in reversed(plan.steps) if one.layer == want.layer)
    if step.selection is not want.selection:
        values = want.selection.of(values)
    return (ids, values) if rows is None else take_rows(ids, values, rows)


def _joined(pieces: list[Answer]) -> Answer:
    ids = np.concatenate([piece[0] for piece in pieces])
    first = pieces[0][1]
    if isinstance(first, dict):
        return ids, {name: np.concatenate([one[1][name] for one in pieces]) for name in first}
    return ids, np.concatenate([piece[1] for piece in pieces])


def _title(plan: Plan) -> str:
    return " · ".join(f"{step.way} {step.layer}" for step in plan.steps)
