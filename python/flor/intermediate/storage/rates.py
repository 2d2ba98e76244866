"""How long something takes by how much of it there is, learned from what it took.

seconds = Σ rate × amount, fitted to the relative errors of what was measured, older measurements
counting less. Not thread-safe: belongs to one owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

_KEEP = 0.95  # what an earlier measurement counts when another one comes
_GUESS = 1e-3  # what a guess counts beside a measurement


class Rate:
    """Rates for some amounts; begins with a guess, which measurements soon outweigh."""

    def __init__(self, guess: Sequence[float], state: Any = None) -> None:
        self.guess = np.asarray(guess, np.float64)
        self.square = _GUESS * np.diag(self.guess**-2)
        self.line = _GUESS * self.guess**-1
        if state and len(state[1]) == len(self.guess):
            self.square, self.line = np.asarray(state[0]), np.asarray(state[1])

    def note(self, amounts: Sequence[float], seconds: float) -> None:
        """Learn that these amounts took so long."""
        if seconds > 0:
            relative = np.asarray(amounts, np.float64) / seconds
            self.square = _KEEP * self.square + np.outer(relative, relative)
            self.line = _KEEP * self.line + relative

    def seconds(self, amounts: Sequence[float]) -> float:
        """Return how long these amounts should take."""
        return float(np.dot(self._rates(), np.asarray(amounts, np.float64)))

    def _rates(self) -> Any:
        """Solve for rates that are not negative: what would be is left out, least first."""
        used = np.ones(len(self.guess), bool)
        while True:
            rates = np.zeros(len(self.guess))
            rates[used] = np.linalg.lstsq(self.square[used][:, used], self.line[used])[0]
            if (rates >= 0).all() or used.sum() == 1:
                return np.maximum(rates, 0)
            used[np.argmin(rates / self.guess)] = False

    def state(self) -> list[Any]:
        """Return what JSON keeps."""
        return [self.square.tolist(), self.line.tolist()]
