"""How a run is recorded: what ``flor record`` or the environment chose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flor.errors import InvalidError
from flor.recording.policy import DEFAULT_OVERHEAD, Policy
from flor.recording.thinning import disk_budget


@dataclass(frozen=True)
class Options:
    """``store`` None: ``FLOR_STORE``, else ``./.flor``. ``overhead`` None: what the script says.

    Budgets in bytes. ``disk_budget`` None: ``FLOR_DISK_BUDGET``, else 20 GiB. ``files_budget``
    None: ``FLOR_FILES_BUDGET``, else 256 MiB. ``start_up``: the seconds that passed before the
    program began.
    """

    store: Path | None = None
    overhead: float | None = None
    settings: dict[str, str] = field(default_factory=dict)
    strict: bool = False
    disk_budget: int | None = None
    start_up: float = 0.0
    files_budget: int | None = None

    def content(self) -> dict[str, Any]:
        """Return what a resumed run needs to go on as it began, for run.json."""
        return {
            "overhead": self.overhead,
            "settings": self.settings,
            "strict": self.strict,
            "disk_budget": self.disk_budget,
            "files_budget": self.files_budget,
        }

    def policy(self, from_script: float | None, files_seconds: Callable[[], float]) -> Policy:
        """Return the budget: the bound of the command line, of the script, or 1/15, unused.

        ``files_seconds()``: what keeping files has cost the program so far.
        """
        named = self.overhead if self.overhead is not None else from_script
        bound = DEFAULT_OVERHEAD if named is None else named
        check_bound(bound)
        budget = disk_budget(self.disk_budget)
        thrifty = named is None
        return Policy(
            bound, budget, thrifty=thrifty, start_up=self.start_up, files_seconds=files_seconds
        )


def check_bound(bound: float) -> None:
    """Raise InvalidError for an overhead bound that is none.

    A fraction of the run's time, or infinity: a checkpoint at every boundary, whatever it costs.
    """
    if not (0 <= bound <= 1 or bound == math.inf):
        raise InvalidError(
            f"overhead must lie in 0..1 (a fraction of the run's time) or be inf, not {bound}"
        )
