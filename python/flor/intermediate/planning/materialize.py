"""What is worth keeping: results of reruns are offered to the store, and pay for their bytes.

    γ = (t_rerun − t_read) · interest / bytes            seconds saved by a byte (MISTIQUE, 5.2)

*Interest* is the count of queries, halved every hundred; the one that computes an intermediate
counts, so that a cold store begins to keep at once. *Bytes* are marginal: what the store grew by
after dedup; before they are known, they are guessed from what the layer took before. Columns of a
table are judged one by one. What was kept this way and has the least γ goes when the budget is
passed; what the user captured never does.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from flor.errors import InvalidError, StorageError
from flor.intermediate.forms import Form, Key
from flor.intermediate.planning.cost import Costs
from flor.intermediate.planning.ledger import Ledger
from flor.intermediate.planning.plan import Plan, Want, covers, holds
from flor.intermediate.storage.codes import Code
from flor.sizes import parse_bytes

if TYPE_CHECKING:
    from flor.intermediate.computation import Computation
    from flor.intermediate.storage.kept import Kept
    from flor.intermediate.storage.store import IntermediateStore
    from flor.intermediate.storage.writer import TableWriter

ADAPTIVE = "adaptive"
# Seconds a byte must save a query, recent queries counted: a gigabyte must save ten seconds.
LEAST_GAMMA = 1e-8
BUDGET = 1 << 30
# All handles on a store share its budget.
_KEPT: WeakKeyDictionary[IntermediateStore, dict[int, Kept]] = WeakKeyDictionary()
_LOCK = threading.RLock()
# Bytes kept per byte decoded, before anything is known.
GUESS = {"exact": 0.6, "affine8": 0.25, "half": 0.5}


@dataclass(frozen=True)
class Policy:
    """``budget``: bytes that adaptive copies may take in a store. ``gamma``: the least γ.

    ``code``: how floating values are kept when a query does not need them exactly.
    """

    budget: float = BUDGET
    gamma: float = LEAST_GAMMA
    code: str = "affine8"

    @classmethod
    def of(cls, budget: float | str | None, gamma: float, code: str) -> Policy:
        """Return the policy; ``budget`` also as ``"500M"``; None: 1 GiB. Raises InvalidError."""
        found = parse_bytes(budget) if isinstance(budget, str) else budget
        if budget is None:
            found = BUDGET
        if not isinstance(found, int | float) or not found >= 0:
            raise InvalidError(f"a budget is bytes, 0 or more, such as 500M, not {budget!r}")
        return cls(found, gamma, code)


class Materializer:
    """Decides what a rerun leaves in the store. Thread-safe."""

    def __init__(
        self,
        store: IntermediateStore,
        computation: Computation,
        costs: Costs,
        ledger: Ledger,
        policy: Policy,
    ) -> None:
        self.store = store
        self.computation = computation
        self.costs = costs
        self.ledger = ledger
        self.policy = policy

    def offer(self, plan: Plan) -> Offer | None:
        """Return what takes the results of a plan's reruns; None where nothing will be kept.

        Only what is computed for all rows: a part of the rows would answer few later queries.
        """
        if plan.rows is not None:
            return None
        wanted = {want.layer: want for want in plan.wants}
        reruns = [step for step in plan.steps if step.way == "rerun"]
        drafts = []
        for step in reruns:
            want = wanted.get(step.layer)
            if want is None:
                continue
            key = self.computation.key(step.layer)
            share = plan.seconds / len(reruns)
            draft = self._draft(key, want, share)
            if draft is not None:
                drafts.append(draft)
        return Offer(self, drafts) if drafts else None

    def gamma(self, key: Key, units: tuple[str, ...], saved: float, nbytes: float) -> float:
        """Return the seconds that a byte saves; infinite where dedup makes it free."""
        interest = max((self.ledger.interest(key, unit) for unit in units), default=0.0)
        if saved <= 0:
            return 0.0
        return saved * interest / nbytes if nbytes > 0 else math.inf

    def kept(self) -> dict[int, Kept]:
        """Return what was kept adaptively, of all models in the store, by number.

        Looked up once a process: of what others keep meanwhile the next one knows.
        """
        with _LOCK:
            if self.store not in _KEPT:
                found = self.store.find()
                _KEPT[self.store] = {one.number: one for one in found if one.labels.get(ADAPTIVE)}
            return _KEPT[self.store]

    def make_room(self) -> None:
        """Keep the adaptive copies of the largest γ that fit the budget, remove the others."""
        stay = {one.number for one in self._staying()}
        for one in [copy for copy in list(self.kept().values()) if copy.number not in stay]:
            self.store.remove(one)
            self.kept().pop(one.number, None)
            self.ledger.decide(
                one.key, "dropped", bytes=one.nbytes, gamma=self.worth(one), code=one.code,
                because=f"what saves more per byte fills the budget of {self.policy.budget} bytes",
            )  # fmt: skip

    def _staying(self) -> list[Kept]:
        """Return the copies that stay, of the largest γ first.

        A chunk that several have counts once, with the first of them, whoever brought it.
        """
        copies = sorted(self.kept().values(), key=self.worth, reverse=True)
        sizes, held, found = chunk_sizes(copies), set[int](), []
        room = self.policy.budget
        for one in copies:
            chunks = one.chunk_lengths().keys() - held
            more = sum(sizes[number] for number in chunks)
            if more <= room:
                room -= more
                held |= chunks
                found.append(one)
        return found

    def worth(self, kept: Kept) -> float:
        """Return γ of a copy as it stands now."""
        saved = (kept.seconds or 0.0) - float(kept.estimate(None, None))
        return self.gamma(kept.key, asked_units(kept.form), saved, kept.nbytes)

    def _draft(self, key: Key, want: Want, seconds: float) -> Draft | None:
        """Return what should be kept of a layer, None where it does not pay."""
        form = _form(want)
        exact = not (want.bounded or want.accuracy == "any") or not _floating(form)
        code = (
            "exact" if exact or Code.parse(self.policy.code).side is not None else self.policy.code
        )
        total = len(self.computation.row_ids)
        if any(
            one.code == code and holds(one, want.selection) and covers(one, None, total)
            for one in self.store.find(key)
        ):
            return None
        guess = total * form.row_bytes * self._ratio(key, code)
        saved = seconds - self._reading(guess)
        gamma = self.gamma(key, asked_units(form), saved, guess)
        facts = {"gamma": gamma, "bytes": int(guess), "saved": saved, "code": code}
        if gamma < self.policy.gamma:
            self.ledger.decide(
                key, "not kept", **facts, because=f"γ is below {self.policy.gamma:.3g} s/byte"
            )
            return None
        if not self._fits(gamma, guess):
            self.ledger.decide(
                key, "not kept", **facts, because=f"no room in {self.policy.budget} bytes"
            )
            return None
        return Draft(key, want, form, code)

    def _fits(self, gamma: float, nbytes: float) -> bool:
        """Return whether there is room beside the copies that stay and are worth more."""
        better = [one for one in self._staying() if self.worth(one) >= gamma]
        return sum(chunk_sizes(better).values()) + nbytes <= self.policy.budget

    def _reading(self, nbytes: float) -> float:
        return 1e-3 + nbytes / 300e6

    def _ratio(self, key: Key, code: str) -> float:
        sums = self.ledger.sums(f"ratio {code} {key.layer}") or self.ledger.sums(f"ratio {code}")
        return sums[0] / sums[1] if sums else GUESS.get(code, 0.5)

    def learn_ratio(self, key: Key, code: str, nbytes: int, decoded: int) -> None:
        """Remember what a layer's values took in the store."""
        for name in (f"ratio {code} {key.layer}", f"ratio {code}"):
            old = self.ledger.sums(name) or [0.0, 0.0]
            self.ledger.remember_sums(name, [old[0] * 0.7 + nbytes, old[1] * 0.7 + decoded])

    def why(self, key: Key) -> str:
        """Return in words why an intermediate is kept or not."""
        lines = [
            f"kept: {one.code}, {one.rows} rows, {one.nbytes} bytes new, error {one.error:.3g}, "
            + ("adaptively" if one.labels.get(ADAPTIVE) else "by the user")
            for one in self.store.find(key)
        ] or ["nothing is kept"]
        lines.append(f"interest: {self.ledger.interest(key):.2f} recent queries")
        for at, verdict, facts in self.ledger.decisions(key):
            lines.append(f"query {at}: {verdict}: {_told(facts)}")
        return "\n".join(lines)


@dataclass
class Draft:
    """A layer, or some columns of it, that is being kept while it is computed."""

    key: Key
    want: Want
    form: Form
    code: str
    writer: TableWriter | None = None
    rows: int = 0


class Offer:
    """Takes what reruns compute, piece by piece, and keeps it at the end.

    A store that fails (a full disk) costs the copy, not the answer: ``why`` says so.
    """

    def __init__(self, owner: Materializer, drafts: list[Draft]) -> None:
        self._owner = owner
        self._drafts = drafts

    def take(self, layer: str, ids: Any, values: Any) -> None:
        """Take whole rows of a layer."""
        for draft in list(self._drafts):
            if draft.want.layer == layer:
                with self._failing(draft):
                    self._append(draft, ids, values)

    def finish(self, seconds: float) -> None:
        """Commit what computing all took so many seconds of, learn its size, and make room."""
        for draft in list(self._drafts):
            with self._failing(draft):
                self._commit(draft, seconds)
        with self._failing(None):
            self._owner.make_room()

    def drop(self) -> None:
        """Keep nothing: the query did not go through."""
        for draft in self._drafts:
            if draft.writer is not None:
                draft.writer.abort()

    def _append(self, draft: Draft, ids: Any, values: Any) -> None:
        if draft.writer is None:
            labels = {ADAPTIVE: True, "complete": True}
            store = self._owner.store
            draft.writer = store.writer(draft.key, draft.form, draft.code, labels=labels)
        draft.writer.append(ids, _values(draft, values))
        draft.rows += len(ids)

    def _commit(self, draft: Draft, seconds: float) -> None:
        if draft.writer is None:
            return
        kept = draft.writer.commit(seconds=seconds / len(self._drafts))
        owner = self._owner
        owner.kept()[kept.number] = kept
        owner.learn_ratio(draft.key, draft.code, kept.nbytes, draft.rows * draft.form.row_bytes)
        owner.ledger.decide(
            draft.key, "kept", gamma=owner.worth(kept), bytes=kept.nbytes, code=kept.code,
            seconds=kept.seconds, units=list(asked_units(draft.form))[:8],
            because="a query computed it, and reading it saves more than its bytes cost",
        )  # fmt: skip

    @contextmanager
    def _failing(self, draft: Draft | None) -> Iterator[None]:
        try:
            yield
        except StorageError as problem:
            if draft is not None:
                self._drafts.remove(draft)
                if draft.writer is not None:
                    draft.writer.abort()
                self._owner.ledger.decide(draft.key, "not kept", because=str(problem))


def chunk_sizes(copies: Sequence[Kept]) -> dict[int, float]:
    """Return the bytes of each chunk: its share of what the copy took that brought it."""
    found: dict[int, float] = {}
    for one in copies:
        lengths = one.chunk_lengths()
        whole = sum(lengths.values()) or 1
        for number, length in lengths.items():
            found[number] = max(found.get(number, 0.0), one.nbytes * length / whole)
    return found


def asked_units(form: Form) -> tuple[str, ...]:
    """Return the units whose interest counts: columns of a table, the layer for a tensor."""
    return ("",) if form.unit_shape is not None else tuple(part.name for part in form.parts)


def _form(want: Want) -> Form:
    form = want.selection.form
    if form.unit_shape is not None:
        return form
    parts = {part.name: part for part in form.parts}
    return Form(tuple(parts[name] for name in dict.fromkeys(want.selection.columns)))


def _values(draft: Draft, values: Any) -> Any:
    if draft.form.unit_shape is not None:
        return values
    return {part.name: values[part.name] for part in draft.form.parts}


def _floating(form: Form) -> bool:
    def floats(dtype: str) -> bool:
        try:
            return np.dtype(dtype).kind == "f"
        except TypeError:
            return False

    return form.unit_shape is not None and all(floats(part.dtype) for part in form.parts)


def _told(facts: dict[str, Any]) -> str:
    because = facts.get("because", "")
    figures = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in facts.items()
        if name != "because"
    ]
    return f"{because} ({', '.join(figures)})" if figures else str(because)
