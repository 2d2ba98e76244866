"""Medians with their spread, quantiles, ratios round by round."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ENOUGH_FOR_P99 = 100


@dataclass(frozen=True)
class Summary:
    """What rounds gave: the median, the lowest and highest, and the 99th percentile.

    With fewer than 100 rounds ``p99`` is the worst one.
    """

    median: float
    low: float
    high: float
    p99: float


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def summarize(values: Sequence[float], lower_is_better: bool = True) -> Summary:
    """Return the summary of at least one value."""
    ordered = sorted(values, reverse=not lower_is_better)
    return Summary(statistics.median(values), min(values), max(values), quantile(ordered, 0.99))


def ratios(
    rows: Sequence[Mapping[str, float]], base: Sequence[Mapping[str, float]], figure: str
) -> list[float]:
    """Return a subject's figure in parts of the base's, round by round.

    Empty where the base has no such figure, or is 0 in some round.
    """
    pairs = [(mine.get(figure), its.get(figure)) for mine, its in zip(rows, base, strict=True)]
    found = [mine / its for mine, its in pairs if mine is not None and its]
    return found if len(found) == len(pairs) else []
