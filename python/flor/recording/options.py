"""How a run is recorded: what ``flor record`` or the environment chose."""

from __future__ import annotations

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
        if not 0 <= bound <= 1:
            raise InvalidError(
                f"overhead must lie in 0..1 (a fraction of the run's time), not {bound}"
            )
        return bound
