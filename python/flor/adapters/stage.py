"""The loops of a library, as its callbacks tell of them.

A :class:`Stage` is one call into the library that trains: its loops are ordinary loops of the core
(``_core.LoopSite``), whose iterations begin when the library says so. They are contexts of records,
and boundaries of the state, as if they stood in the program.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from flor import _core

Listener = Callable[..., None]


@dataclass(frozen=True)
class Owner:
    """The key of a loop site that stands in a library, not in the program.

    ``outermost``: nothing of the library goes round it, it is the loop over epochs.
    """

    library: str
    outermost: bool


class _Numbers:
    """An iterator that gives what it was last given, and ends when it was given nothing."""

    def __init__(self) -> None:
        self.waiting: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not self.waiting:
            raise StopIteration
        return self.waiting.pop()


class _Ticker:
    """One loop, whose iterations begin when :meth:`step` is called; dropped, it was left early."""

    def __init__(self, name: str, owner: Owner) -> None:
        self.name = name
        self._numbers = _Numbers()  # no part of this object: a cycle would keep the loop alive
        self._loop = _core.LoopSite(name, owner)(self._numbers)

    def step(self, number: Any) -> None:
        self._numbers.waiting.append(number)
        next(self._loop)

    def end(self) -> None:
        next(self._loop, None)


class Stage:
    """The loops of one call into a library, level 0 outside. Belongs to the calling thread.

    ``nested``: the call was made inside another one, from a callback. ``deaf``: it follows no more.
    """

    def __init__(self, library: str, nested: bool) -> None:
        self.library = library
        self.nested = nested
        self.deaf = False
        self._loops: dict[int, _Ticker] = {}

    def step(self, level: int, name: str, number: Any) -> None:
        """Begin an iteration of loop ``name``, which the library counts as ``number``.

        Deeper loops end, and one of another name at this level.
        """
        ticker = self._loops.get(level)
        self.leave(level if ticker is not None and ticker.name != name else level + 1)
        if level not in self._loops:
            self._loops[level] = _Ticker(name, Owner(self.library, level == 0))
        self._loops[level].step(number)

    def leave(self, level: int = 0) -> None:
        """The loop at this level ran to its end, and those inside it."""
        for each in self._from(level):
            self._loops.pop(each).end()

    def abandon(self) -> None:
        """An exception left the loops: what is still running is dropped, innermost first."""
        for each in self._from(0):
            del self._loops[each]

    def _from(self, level: int) -> list[int]:
        return sorted((each for each in self._loops if each >= level), reverse=True)


class _Stages(threading.local):
    def __init__(self) -> None:
        self.open: list[Stage] = []
        self.tell: Callable[[str], object] = print


_stages = _Stages()


def runs(library: str, owner: Any, *methods: str) -> None:
    """Wrap methods of ``owner`` that train: each call has a stage. AttributeError: there is none
    of that name.
    """
    for method in methods:
        setattr(owner, method, _staged(library, getattr(owner, method)))


def hears(owner: Any, method: str, listener: Listener) -> None:
    """Call ``listener(stage, ...)`` with what ``owner.method`` is called with, before that.

    Only inside a stage. AttributeError: there is no such method.
    """
    original = getattr(owner, method)

    @functools.wraps(original)
    def called(*args: Any, **kwargs: Any) -> Any:
        if _stages.open:
            _hear(_stages.open[-1], listener, args, kwargs)
        return original(*args, **kwargs)

    setattr(owner, method, called)


def _hear(stage: Stage, listener: Listener, args: Any, kwargs: Any) -> None:
    try:
        if not stage.deaf:
            listener(stage, *args, **kwargs)
    except Exception as error:  # a new version of the library: training goes on without contexts
        stage.abandon()
        stage.deaf = True
        what = f"{type(error).__name__}: {error}"
        _stages.tell(f"the loops of {stage.library} can't be followed: {what}")


def tell_with(tell: Callable[[str], object]) -> None:
    """From now on tell with ``tell`` what an adapter could not do; of the calling thread."""
    _stages.tell = tell


def _staged(library: str, original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def called(*args: Any, **kwargs: Any) -> Any:
        stages = _stages.open
        stage = Stage(library, bool(stages))
        stages.append(stage)
        try:
            result = original(*args, **kwargs)
            stage.leave()
            return result
        finally:
            stages.remove(stage)
            stage.abandon()

    return called
