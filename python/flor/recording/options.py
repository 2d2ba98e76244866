"""How a run is recorded: what ``flor record`` or the environment chose."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flor.errors import InvalidError
from flor.recording.policy import DEFAULT_OVERHEAD


@dataclass(frozen=True)
class Options:
    """``store`` None: ``FLOR_STORE``, else ``./.flor``. ``overhead`` None: what the script says.

    ``disk_budget`` in bytes; None: ``FLOR_DISK_BUDGET``, else 20 GiB.
    """

    store: Path | None = None
    overhead: float | None = None
    settings: dict[str, str] = field(default_factory=dict)
    strict: bool = False
    disk_budget: int | None = None

    def content(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on as it began, for run.json."""
        return {
            "overhead": self.overhead,
            "settings": self.settings,
            "strict": self.strict,
            "disk_budget": self.disk_budget,
        }

    def bound(self, from_script: float | None) -> float:
        """Return the overhead bound: the command line's, the script's, or 1/15."""
        bound = self.overhead if self.overhead is not None else from_script
        bound = DEFAULT_OVERHEAD if bound is None else bound
        check_bound(bound)
        return bound


def check_bound(bound: float) -> None:
    """Raise InvalidError for an overhead bound that is none.

    A fraction of the run's time, or infinity: a checkpoint at every boundary, whatever it costs.
    """
    if not (0 <= bound <= 1 or bound == math.inf):
        raise InvalidError(
            f"overhead must lie in 0..1 (a fraction of the run's time) or be inf, not {bound}"
        )
