"""Which of flor's figures got worse since other results, beyond the spread of both.

A figure got worse when its median lies outside the range of the old rounds, and the old median
outside the range of the new ones. Where an experiment has a yardstick, the figures in parts of the
yardstick are compared, so that a machine that is busier today does not make flor worse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flor.bench.harness import BenchError, Figure
from flor.bench.results import Outcome, Results
from flor.bench.summary import Summary, ratios, summarize


@dataclass(frozen=True)
class Change:
    """One figure of flor, old and new. ``relative``: in parts of the yardstick ``base``."""

    place: str
    figure: Figure
    base: str
    relative: bool
    old: Summary
    new: Summary

    @property
    def verdict(self) -> str:
        """``worse``, ``better`` or ``same``: beyond the spread of both or not."""
        apart = not (self.old.low <= self.new.median <= self.old.high) and not (
            self.new.low <= self.old.median <= self.new.high
        )
        if not apart:
            return "same"
        return "worse" if (self.new.median > self.old.median) == self.figure.lower else "better"

    def __str__(self) -> str:
        unit = f"x {self.base}" if self.relative else self.figure.unit

        def text(it: Summary) -> str:
            return f"{it.median:.4g} ({it.low:.4g} to {it.high:.4g})"

        return (
            f"{self.verdict}: {self.place}, {self.figure.name}: "
            f"{text(self.old)} then, {text(self.new)} now, {unit}"
        )


def changes(old: Results, new: Results) -> list[Change]:
    """Return every figure of flor that both have.

    Raises BenchError when they can't be compared: one of them ``--quick``, or nothing in common.
    """
    if old.quick != new.quick:
        raise BenchError("one of the results is --quick and the other is not; run both alike")
    before = dict(_outcomes(old))
    found = [
        change
        for place, outcome in _outcomes(new)
        if place in before
        for change in _of_outcome(place, before[place], outcome)
    ]
    if not found:
        raise BenchError("the two results have no figure of flor in common")
    return found


def _outcomes(results: Results) -> Iterator[tuple[str, Outcome]]:
    for suite in results.suites:
        for outcome in suite.experiments:
            yield f"{suite.name}: {outcome.title}", outcome


def _of_outcome(place: str, old: Outcome, new: Outcome) -> Iterator[Change]:
    known = {figure.name for figure in old.figures}
    for subject in new.ours:
        if subject not in old.samples or subject not in new.samples:
            continue
        for figure in new.figures:
            if figure.name not in known:
                continue
            then, now = _relative(old, subject, figure), _relative(new, subject, figure)
            relative = bool(then and now) and old.base == new.base != subject
            if not relative:
                then, now = _plain(old, subject, figure), _plain(new, subject, figure)
            if then and now:
                made = (summarize(then, figure.lower), summarize(now, figure.lower))
                yield Change(f"{place}: {subject}", figure, new.base, relative, *made)


def _plain(outcome: Outcome, subject: str, figure: Figure) -> list[float]:
    return [row[figure.name] for row in outcome.samples[subject] if figure.name in row]


def _relative(outcome: Outcome, subject: str, figure: Figure) -> list[float]:
    base = outcome.samples.get(outcome.base)
    return ratios(outcome.samples[subject], base, figure.name) if base else []
