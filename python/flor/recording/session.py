"""Sessions: what ``flor.log``, ``flor.arg``, ``flor.loop`` and ``flor.checkpointing`` do right now.

A process has at most one: a :class:`~flor.recording.record.RecordSession`, made on first use, or
the replay session that a replay worker installs. Importing flor makes none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from types import CodeType
from typing import Any, Protocol


class Session(Protocol):
    """One way to answer the public calls."""

    def loop(self, name: str, iterable: Iterable[Any]) -> Iterator[Any]:
        """Answer ``flor.loop``."""
        ...

    def arg(self, name: str, default: Any) -> Any:
        """Answer ``flor.arg``."""
        ...

    def instrument(self, code: CodeType) -> CodeType | None:
        """Answer ``flor.instrument``: code with its loops visible; None leaves it as it is."""
        ...

    def enter_checkpointing(self, objects: dict[str, Any], overhead: float | None) -> None:
        """Begin ``with flor.checkpointing``."""
        ...

    def exit_checkpointing(self) -> None:
        """End ``with flor.checkpointing``."""
        ...

    def log_slowly(self, name: object, value: Any) -> None:
        """Answer ``flor.log`` for what the core does not take."""
        ...


_lock = threading.Lock()
_session: Session | None = None
_make: Callable[[], Session] | None = None


def install(session: Session | None) -> None:
    """Make ``session`` the current one."""
    global _session
    _session = session


def current() -> Session:
    """Return the session of this process, making a recording one on first use."""
    if _session is None:
        with _lock:
            if _session is None:
                from flor.recording.record import RecordSession

                install(RecordSession.start())
    assert _session is not None
    return _session


def existing() -> Session | None:
    """Return the session if there is one."""
    return _session


def end() -> None:
    """End the recording of this process; called as it exits."""
    if _session is not None:
        from flor.recording.record import RecordSession

        if isinstance(_session, RecordSession):
            _session.finish(exit_code=None)  # Python tells nobody at exit what sys.exit was given


def log_slowly(name: object, value: Any) -> None:
    """Answer ``flor.log`` where the core does not: first use, arrays, JSON, large values."""
    current().log_slowly(name, value)
