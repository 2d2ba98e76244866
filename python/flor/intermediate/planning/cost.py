"""What reading and computing will take: estimates, put right by what earlier ones took.

The store estimates a read from chunks, bytes, and rates that it learns; a computation a rerun from
what its steps took. Both err by an overhead and by a factor, which change with the machine. So
seconds = a + b · estimate, fitted per layer, and per code or model for layers that are new, with
weights 1/seconds²: relative errors count. Old measurements fade. MISTIQUE, section 5.1, calls the
costs t_read and t_rerun.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flor.intermediate.computation import Computation
from flor.intermediate.planning.ledger import Ledger

if TYPE_CHECKING:
    from flor.intermediate.planning.selection import Selection
    from flor.intermediate.storage.kept import Kept

FADE = 0.9
FLOOR = 1e-6  # seconds: no estimate is smaller
ALIKE = 0.05  # estimates of less relative variance tell nothing of a slope
OVERHEAD = 0.01  # seconds above such estimates that are taken for an overhead, more for a factor


@dataclass
class Fit:
    """Weighted sums of (1, estimate, seconds), and the line through them."""

    sums: list[float] = field(default_factory=lambda: [0.0] * 5)  # w, wx, wxx, wy, wxy

    def add(self, estimate: float, seconds: float) -> None:
        """Take a measurement in."""
        weight = 1.0 / max(seconds, FLOOR) ** 2
        terms = (1.0, estimate, estimate**2, seconds, estimate * seconds)
        new = [weight * term for term in terms]
        self.sums = [FADE * old + one for old, one in zip(self.sums, new, strict=True)]

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return self.sums[0] > 0

    def line(self) -> tuple[float, float]:
        """Return (a, b), neither negative: a line that falls would predict nonsense."""
        w, wx, wxx, wy, wxy = self.sums
        spread = w * wxx - wx * wx
        if spread > ALIKE * w * wxx:
            b = (w * wxy - wx * wy) / spread
            a = (wy - b * wx) / w
            if b < 0:
                return wy / w, 0.0
            if a >= 0:
                return a, b
        elif 0 <= wy - wx <= OVERHEAD * w:
            return (wy - wx) / w, 1.0
        return 0.0, wxy / wxx if wxx else 1.0

    def predict(self, estimate: float) -> float:
        """Return the seconds that an estimate stands for."""
        if math.isinf(estimate):
            return estimate
        a, b = self.line()
        return max(a + b * estimate, FLOOR)


@dataclass(frozen=True)
class Price:
    """Predicted seconds, what they were predicted from, and the fits that learn of the outcome."""

    seconds: float
    estimate: float
    names: tuple[str, ...]


class Costs:
    """Predicted seconds of reads and reruns. Thread-safe."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._fits: dict[str, Fit] = {}

    def read(self, kept: Kept, rows: Any, selection: Selection, way: str = "read") -> Price:
        """Return the price of reading some units of these row ids, None for all.

        ``way``: also ``bounds``, which works on what it reads.
        """
        key = kept.key  # some units are picked out of their chunks: another line than that of all
        code = f"{way} {kept.code} {'all' if selection.whole else 'some'}"
        names = (f"{code} {key.model} {key.layer}", code)
        return self._price(names, kept.estimate(rows, selection.asked))

    def rerun(self, computation: Computation, layer: str, count: int, given: Set[str]) -> Price:
        """Return the price of computing a layer for ``count`` rows from these ancestors."""
        model = f"rerun {computation.key(layer).model}"
        return self._price((f"{model} {layer}", model), computation.seconds(layer, count, given))

    def observe(self, price: Price, seconds: float) -> None:
        """Learn that what had that price took so many seconds."""
        with self._lock:
            for name in price.names:
                fit = self._fit(name)
                fit.add(price.estimate, seconds)
                self._ledger.remember_sums(name, fit.sums)

    def _price(self, names: tuple[str, ...], estimate: float) -> Price:
        with self._lock:
            fits = [fit for fit in map(self._fit, names) if fit.known]
        seconds = fits[0].predict(estimate) if fits else max(estimate, FLOOR)
        return Price(seconds, estimate, names)

    def _fit(self, name: str) -> Fit:
        if name not in self._fits:
            sums = self._ledger.sums(name)
            self._fits[name] = Fit() if sums is None else Fit(sums)
        return self._fits[name]
