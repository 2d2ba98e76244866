"""Anchors: the objects that existed when the main loop was entered, numbered alike in record and
replay.

An address is not an identity: a freed object's address is reused. So an anchor is kept by a weak
reference where its type allows one, by a strong one otherwise, and strong ones that a later walk no
longer reaches are dropped, so that flor prolongs no life by more than one boundary. NumPy refuses
to resize an array that has a reference of either kind: of arrays the core says whether they live.
"""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from flor import _core


class Anchors:
    """Maps live objects to their number in the entry walk, and back."""

    def __init__(self, objects: list[Any]) -> None:
        self._numbers: dict[int, int] = {}
        self._refs: dict[int, Any] = {}
        self._states: dict[int, Any] = {}
        for number, obj in enumerate(objects):
            self._numbers[id(obj)] = number
            self._refs[number] = _reference(obj)

    def number(self, obj: Any) -> int | None:
        """Return the number of ``obj``; None when it was born after the entry."""
        number = self._numbers.get(id(obj))
        if number is None or self._refs[number]() is not obj:
            return None
        return number

    def note(self, states: dict[int, Any]) -> None:
        """Keep what some anchors, by number, were like at the entry."""
        self._states = states

    def noted(self, obj: Any) -> Any:
        """Return what was kept of an anchor; None without."""
        number = self.number(obj)
        return None if number is None else self._states.get(number)

    def get(self, number: int) -> Any:
        """Return anchor ``number``, or None when it has died."""
        ref = self._refs.get(number)
        return None if ref is None else ref()

    def keep_only(self, reached: set[int]) -> None:
        """Forget the strongly held anchors that a walk did not reach."""
        strong = [number for number, ref in self._refs.items() if isinstance(ref, _Strong)]
        for number in strong:
            if number in reached:
                continue
            obj = self._refs.pop(number)()
            self._numbers.pop(id(obj), None)

    def __len__(self) -> int:
        return len(self._refs)


def _reference(obj: Any) -> Any:
    if isinstance(obj, np.ndarray):
        return _Array(obj)
    try:
        return weakref.ref(obj)
    except TypeError:
        return _Strong(obj)


class _Array:
    """An array, weakly."""

    __slots__ = ("_address", "_serial")

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._address, self._serial = id(array), _core.watch_array(array, np.ndarray)

    def __call__(self) -> Any:
        return _core.watched_array(self._address, self._serial)


class _Strong:
    """A strong reference with the interface of a weak one."""

    __slots__ = ("_obj",)

    def __init__(self, obj: Any) -> None:
        self._obj = obj

    def __call__(self) -> Any:
        return self._obj
