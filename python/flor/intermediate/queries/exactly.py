"""Plans that may begin with an inexact copy, and the exact values that end them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import ChangedError
from flor.intermediate.planning.access import Access
from flor.intermediate.planning.bounds import Scores
from flor.intermediate.planning.plan import Accuracy, Plan, Step, Want
from flor.intermediate.queries.query import Job
from flor.intermediate.storage.codes import Code

if TYPE_CHECKING:
    from flor.intermediate.storage.kept import Kept

Array = NDArray[Any]

# The part of all rows that a copy leaves undecided, before anything is known.
_GUESS = 0.02


def bounded_job(
    access: Access,
    layer: str,
    units: Any,
    rows: Any,
    accuracy: Accuracy,
    expected: int,
    what: str,
) -> Job:
    """Return the cheaper of: exact values of all rows; a lossy copy and those that it leaves open.

    ``expected``: rows that are needed exactly at the least. ``what``: the kind of query, by which
    it is remembered how many rows were left open.
    """
    want = replace(access.planner.want(layer, units, accuracy), bounded=True)
    ids = access.rows.of(rows)
    plan = access.planner.possible([want], ids)
    if accuracy == "exact":
        bounded = _bounded_plan(access, want, ids, expected, what)
        if bounded is not None and (plan is None or bounded.seconds < plan.seconds):
            others = [] if plan is None else [("exact values of all rows", plan.seconds)]
            return Job(access, replace(bounded, rejected=others))
    return Job(access, plan or access.planner.plan([want], ids))  # which says what is missing


def _bounded_plan(
    access: Access, want: Want, ids: Array | None, expected: int, what: str
) -> Plan | None:
    planner = access.planner
    copies = [one for one in planner.copies(want, ids, lossy=True) if _has_bounds(one)]
    count = planner.count(ids)
    best = planner.cheapest(copies, want, ids, "bounds")
    if best is None or count == 0:
        return None
    kept, price = best
    open_rows = min(count, max(expected, round(_part(access, want.layer, what) * count)))
    every = access.rows.ids if ids is None else ids
    sample = every[np.linspace(0, count - 1, open_rows).astype(np.int64)]
    fetch = planner.possible([want], sample)
    if fetch is None:
        return None
    first = Step("bounds", want.layer, ids, count, price, want.selection, kept)
    return Plan((want,), ids, [first, *fetch.steps], kind=what)


def decide(job: Job, scores: Scores, score: Callable[[Any], Array]) -> tuple[Array, Array]:
    """Return (row ids, exact scores) of undecided rows; the plan is told what was done for it.

    Raises ChangedError where an exact score lies outside of the interval that the copy gave: then
    the copy is not of this model and these data.
    """
    plan, access = job.plan, job.access
    (want,) = plan.wants
    count = access.planner.count(plan.rows)
    _learn_part(access, want.layer, plan.kind, len(scores.ids), count)
    if len(scores.ids) == 0:
        plan.steps[1:] = []
        return scores.ids, scores.low
    fetch = access.planner.plan([want], scores.ids)
    ids, values = access.fetch(fetch)[want.layer]
    plan.steps[1:] = fetch.steps
    exact = score(values)
    _check(want.layer, ids, exact, scores)
    return ids, exact


def _has_bounds(kept: Kept) -> bool:
    """Return whether a lossy copy says something of single values; a pooled one hardly does."""
    return kept.code != "exact" and Code.parse(kept.code).side is None


def _check(layer: str, ids: Array, exact: Array, scores: Scores) -> None:
    order = np.argsort(scores.ids, kind="stable")
    at = order[np.searchsorted(scores.ids, ids, sorter=order)]
    slack = 1e-9 * (1 + np.abs(exact))
    wrong = (exact < scores.low[at] - slack) | (exact > scores.high[at] + slack)
    if wrong.any():
        row = int(ids[np.flatnonzero(wrong)[0]])
        raise ChangedError(
            f"row {row} of {layer!r} is computed as a value that its kept copy rules out: the "
            "model or the data changed since it was kept; capture it again"
        )


def _part(access: Access, layer: str, what: str) -> float:
    sums = access.ledger.sums(f"open {what} {layer}")
    return sums[0] / sums[1] if sums and sums[1] else _GUESS


def _learn_part(access: Access, layer: str, what: str, left: int, count: int) -> None:
    old = access.ledger.sums(f"open {what} {layer}") or [0.0, 0.0]
    access.ledger.remember_sums(f"open {what} {layer}", [0.7 * old[0] + left, 0.7 * old[1] + count])
