"""``with flor.checkpointing(model=net, optimizer=opt): ...``."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from flor.recording import session as sessions
from flor.recording.options import check_bound


class checkpointing:  # lower case: it reads as a function
    """Checkpoint the training state in the background while the first loop inside runs.

    Any keyword names an object to be loaded by that name later; captured besides are random states,
    the working folder's changed files and every variable of the program that can be reached.
    ``overhead``: the most that recording may add to the run's time, a fraction in 0..1 (default
    1/15), or ``math.inf``: a checkpoint at every boundary.
    """

    def __init__(self, *, overhead: float | None = None, **objects: Any) -> None:
        if overhead is not None:
            check_bound(overhead)
        self._objects = objects
        self._overhead = overhead

    def __enter__(self) -> checkpointing:
        sessions.current().enter_checkpointing(self._objects, self._overhead)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sessions.current().exit_checkpointing()
