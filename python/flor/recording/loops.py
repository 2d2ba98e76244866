"""``flor.loop`` under recording: contexts, and the boundaries of the main loop."""

from __future__ import annotations

import json
import sys
import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

from flor import _core
from flor.recording.mainloop import MainLoop

_active = threading.local()


def active_loops() -> list[Any]:
    """Return the calling thread's loops that are running, outermost first."""
    refs: list[Any] = getattr(_active, "refs", [])
    return [loop for loop in (ref() for ref in refs) if loop is not None]


def push_loop(loop: Any) -> None:
    """Note that ``loop`` began. Held weakly: a loop that the program leaves must be dropped."""
    _active.refs = [*map(weakref.ref, active_loops()), weakref.ref(loop)]


def pop_loop(loop: Any) -> None:
    """Note that ``loop`` ended."""
    _active.refs = [weakref.ref(other) for other in active_loops() if other is not loop]


def leave_all() -> None:
    """Note that no loop runs: a forked child is in none of its parent's."""
    _active.refs = []


def known_length(iterable: Any) -> int:
    """Return how many items a loop has, -1 where that is not known; asks built-in types only."""
    return len(iterable) if type(iterable) in (range, list, tuple) else -1


def scalar_text(item: Any) -> str | None:
    """Return the iteration's value as JSON when it is a plain scalar."""
    return json.dumps(item) if type(item) in (int, float, str, bool) else None


class RecordedLoop(Iterator[Any]):
    """Iterates ``iterable`` and keeps the calling thread's context.

    It begins at the first ``next`` and ends with StopIteration or when it is dropped (``break``,
    ``return``, an exception), which the interpreter does at once.
    """

    def __init__(self, session: Any, name: str, iterable: Iterable[Any]) -> None:
        self._session = session
        self._name = name
        self._iterable = iterable
        self._iterator: Iterator[Any] | None = None
        self._token = -1
        self._index = -1
        self._main: MainLoop | None = None
        self._block_of: MainLoop | None = None

    def __iter__(self) -> RecordedLoop:
        return self

    @property
    def captured_as(self) -> tuple[str, int]:
        """What a captured state says of this loop, should the program keep it."""
        return "loop", self._index

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]

    def __next__(self) -> Any:
        if self._iterator is None:
            self._begin(sys._getframe(1))
        elif self._main is not None and self._index >= 0:
            self._main.iteration_ended(sys._getframe(1), self._is_last())
        assert self._iterator is not None
        try:
            item = next(self._iterator)
        except StopIteration:
            self._end(exhausted=True)
            raise
        self._index += 1
        _core.context_step(self._token, self._index, scalar_text(item))
        return item

    def _is_last(self) -> bool:
        """Whether this iteration is known to be the last one."""
        return self._index + 1 == known_length(self._iterable)

    def _begin(self, frame: Any) -> None:
        loops = active_loops()
        self._main, self._block_of = self._session.role(self._name, loops, frame)
        self._token = _core.context_enter(self._name)
        push_loop(self)
        self._iterator = iter(self._iterable)

    def _end(self, exhausted: bool) -> None:
        if self._token < 0:
            return
        name = self.context_name()
        _core.context_leave(self._token)
        self._token = -1
        pop_loop(self)
        if self._main is not None:
            self._session.main_ended(exhausted, self._index + 1)
        elif self._block_of is not None and exhausted and self._block_of.active:
            self._block_of.block_ended(name, self._index + 1, sys._getframe(2))
        self._iterator = iter(())

    def context_name(self) -> str:
        """Return the loop's name as contexts have it (``name#2`` for a second one)."""
        path = _core.context_path()
        position = active_loops().index(self) if self in active_loops() else -1
        if self._index >= 0 and 0 <= position < len(path):
            return str(path[position][0])
        return self._name

    def __del__(self) -> None:
        if getattr(self, "_token", -1) >= 0 and sys is not None and not sys.is_finalizing():
            self._end(exhausted=False)
