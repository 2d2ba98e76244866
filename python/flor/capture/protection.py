"""What a probe draws and switches, put back after it.

``__flor_protect__`` in the added statements of a replay (``instrumentation/protect.py``). Saved are
the global random states of Python, NumPy and torch, and those of the generators that the probe's
names lead to. Where the probe calls something unknown also torch's modes, and of the modules and
tensors that its names lead to: training flags, buffers, gradients. Everything else that a probe
might change is left to the comparison of states.
"""

from __future__ import annotations

import gc
import random
import sys
import threading
import types
from collections import ChainMap
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import FrameType
from typing import Any, TypeVar

import numpy as np

from flor.capture.usercode import UserCode

Restore = Callable[[], object]
_T = TypeVar("_T")
_NUMBERS = (int, float, complex, bool, type(None), range, slice, np.ndarray)
_TEXTS = (str, bytes, bytearray)
_CODE = (types.CodeType, types.FrameType, types.TracebackType, types.BuiltinFunctionType)
_PLAIN = frozenset([*_NUMBERS, *_TEXTS, *_CODE])


class ProbeGuard:
    """Makes the context managers that stand round the probes of a program. Thread-safe."""

    def __init__(self, user: UserCode) -> None:
        self._user = user
        self._inside = threading.local()

    def __call__(self, names: Sequence[str], whole: bool) -> AbstractContextManager[Any]:
        """Protect what ``names`` lead to in the calling frame; ``whole``: not random states only.

        Within another protected probe this does nothing: the outer one puts everything back.
        """
        if getattr(self._inside, "depth", 0):
            return _NOTHING
        return Protected(self._inside, _values(sys._getframe(1), names), self._user, whole)


class Protected:
    """One execution of a probe: saves on entry, puts back on exit."""

    def __init__(self, inside: Any, roots: list[Any], user: UserCode, whole: bool) -> None:
        self._inside, self._roots, self._user, self._whole = inside, roots, user, whole
        self._saved: list[Restore] = []

    def __enter__(self) -> None:
        self._saved = [*_global_states(self._whole)]
        for obj in reachable(self._roots, self._user):
            self._saved += _state_of(obj, self._whole)
        self._roots = []
        self._inside.depth = 1

    def __exit__(self, *_: object) -> None:
        self._inside.depth = 0
        for restore in reversed(self._saved):
            restore()
        self._saved = []

    def run(self, probe: Callable[[], _T]) -> _T:
        """Call ``probe`` under protection: for lambdas, which hold no ``with``."""
        with self:
            return probe()


class _Nothing(nullcontext[None]):
    def run(self, probe: Callable[[], _T]) -> _T:
        return probe()


_NOTHING = _Nothing()


def _values(frame: FrameType, names: Sequence[str]) -> list[Any]:
    scope = ChainMap(frame.f_locals, frame.f_globals)
    return [scope[name] for name in names if name in scope]


def reachable(roots: Sequence[Any], user: UserCode) -> Iterator[Any]:
    """Yield the objects that ``roots`` lead to, each once, by attributes, items and closures; and
    through the program's own modules, classes and functions (the globals that these name).
    """
    seen: dict[int, Any] = {}  # keeps what it names: ids of the dead are used again
    waiting = list(roots)
    while waiting:
        obj = waiting.pop()
        if type(obj) not in _PLAIN and id(obj) not in seen:
            seen[id(obj)] = obj
            yield obj
            waiting += _referents(obj, user)


def _referents(obj: Any, user: UserCode) -> Sequence[Any]:
    kind = type(obj)
    if kind is types.ModuleType:
        return list(vars(obj).values()) if user.is_user_module(obj.__name__) else ()
    if issubclass(kind, type):
        return list(vars(obj).values()) if user.is_user_module(obj.__module__) else ()
    if kind is types.FunctionType:
        return _of_function(obj, user)
    return gc.get_referents(obj)


def _of_function(function: types.FunctionType, user: UserCode) -> list[Any]:
    found = [function.__defaults__, function.__kwdefaults__, function.__closure__, vars(function)]
    if user.is_user_file(function.__code__.co_filename):
        scope = function.__globals__
        found += [scope[name] for name in _names(function.__code__) if name in scope]
    return found


def _names(code: types.CodeType) -> set[str]:
    """Return the names that code uses besides its own variables; functions inside it too."""
    inner = (each for each in code.co_consts if isinstance(each, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _global_states(whole: bool) -> Iterator[Restore]:
    yield _putting_back(random.setstate, random.getstate())
    yield _putting_back(np.random.set_state, np.random.get_state(legacy=False))
    if "torch" in sys.modules:
        from flor.capture import torch_protection

        yield from torch_protection.global_states(whole)


def _state_of(obj: Any, whole: bool) -> Iterator[Restore]:
    """Yield what puts the state of a generator, a module or a tensor back."""
    kind = type(obj)
    if issubclass(kind, np.random.BitGenerator):
        state = obj.state
        yield lambda: setattr(obj, "state", state)
    elif issubclass(kind, np.random.RandomState):  # its spare Gaussian too
        yield _putting_back(obj.set_state, obj.get_state(legacy=False))
    elif issubclass(kind, random.Random) and not issubclass(kind, random.SystemRandom):
        yield _putting_back(obj.setstate, obj.getstate())
    elif "torch" in sys.modules:
        from flor.capture import torch_protection

        yield from torch_protection.state_of(obj, whole)


def _putting_back(put: Callable[[Any], object], state: Any) -> Restore:
    return lambda: put(state)
