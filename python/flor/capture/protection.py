"""What a probe draws and switches, put back after it.

``__flor_protect__`` in the added statements of a replay (``instrumentation/protect.py``). Saved are
the global random states of Python, NumPy and torch, and those of the generators that the probe's
names lead to. Where the probe calls something unknown also torch's modes, and of the modules and
tensors that its names lead to: training flags, buffers, gradients. Everything else that a probe
might change is left to the comparison of states.
"""

from __future__ import annotations

import ctypes
import gc
import random
import sys
import threading
import types
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping, Sequence
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

_MT19937_BYTES = 624 * 4 + 4  # its words, and where among them it is
_LARGE, _MOST_ITEMS = 1_000, 50_000
_TOO_MANY = "line %d leads to more objects than are looked at for generators and modules to protect"


class ProbeGuard:
    """Makes the context managers that stand round the probes of a program. Thread-safe.

    ``tell`` gets a sentence where a probe leads to more objects than are looked at.
    """

    def __init__(self, user: UserCode, tell: Callable[[str], None] = lambda _: None) -> None:
        self._user, self._tell = user, tell
        self._inside = threading.local()

    def __call__(self, names: Sequence[str], whole: bool) -> AbstractContextManager[Any]:
        """Protect what ``names`` lead to in the calling frame; ``whole``: not random states only.

        A name may have attributes (``self.model.fc``): then what these hold counts, not all of
        ``self``, as far as reading them runs no code.

        Within another protected probe this does nothing: the outer one puts everything back.
        """
        if getattr(self._inside, "depth", 0):
            return _NOTHING
        frame = sys._getframe(1)
        walk = Reachable(_values(frame, names), self._user)
        return Protected(self._inside, walk, whole, lambda: self._tell(_TOO_MANY % frame.f_lineno))


class Protected:
    """One execution of a probe: saves on entry, puts back on exit."""

    def __init__(
        self, inside: Any, objects: Reachable, whole: bool, too_many: Callable[[], None]
    ) -> None:
        self._inside, self._objects, self._whole = inside, objects, whole
        self._too_many = too_many
        self._saved: list[Restore] = []

    def __enter__(self) -> None:
        self._saved = [*_global_states(self._whole)]
        for obj in self._objects:
            self._saved += _state_of(obj, self._whole)
        if self._objects.left_out:
            self._too_many()
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
    paths = [name.split(".") for name in names]
    return [_held(scope[first], path) for first, *path in paths if first in scope]


def _held(obj: Any, path: Sequence[str]) -> Any:
    """Follow attributes that are kept in the objects themselves; stop before any other."""
    for name in path:
        kind = type(obj)
        plain: Any = object.__getattribute__
        if kind.__getattribute__ is not plain or hasattr(kind, name):
            return obj  # a method or a property may use all of the object
        own = getattr(obj, "__dict__", {})
        if name not in own:
            own = _parts_of_module(obj)
            if name not in own:
                return obj
        obj = own[name]
    return obj


def _parts_of_module(obj: Any) -> Mapping[str, Any]:
    """Return the parameters, buffers and submodules of a module of torch by their names."""
    if "torch" not in sys.modules:
        return {}
    from flor.capture import torch_protection

    return torch_protection.parts(obj)


class Reachable:
    """The objects that ``roots`` lead to, each once, by attributes, items and closures; and through
    the program's own modules, classes and functions (the globals that these name).

    What is in large containers (data sets) comes last and not beyond a number: ``left_out``.
    """

    def __init__(self, roots: Sequence[Any], user: UserCode) -> None:
        self._waiting, self._large = list(roots), list[Sequence[Any]]()
        self._seen: dict[int, Any] = {}  # keeps what it names: ids of the dead are used again
        self._user = user
        self.left_out = False

    def __iter__(self) -> Iterator[Any]:
        yield from self._near()
        left = _MOST_ITEMS
        while self._large:
            items = self._large.pop()
            self.left_out = self.left_out or len(items) > left
            self._waiting = list(items[:left])
            left -= len(self._waiting)
            yield from self._near()
        self._seen = {}

    def _near(self) -> Iterator[Any]:
        waiting, seen = self._waiting, self._seen
        while waiting:
            obj = waiting.pop()
            if type(obj) in _PLAIN or id(obj) in seen:
                continue
            seen[id(obj)] = obj
            yield obj
            found = _referents(obj, self._user)
            if len(found) > _LARGE:
                self._large.append([each for each in found if type(each) not in _PLAIN])
            else:
                waiting += found


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
    yield _numpy_state.save()
    if "torch" in sys.modules:
        from flor.capture import torch_protection

        yield from torch_protection.global_states(whole)


class _NumpyState:
    """NumPy's global random state. Reading and setting it takes 70 us, which most probes have no
    use for: while the generator's memory is the same, the state is.
    """

    def __init__(self) -> None:
        self._memory: bytes | None = None
        self._state: Any = None

    def save(self) -> Restore:
        """Return what puts the state of now back."""
        memory = _numpy_memory()
        if memory is None or memory != self._memory:
            self._memory, self._state = memory, np.random.get_state(legacy=False)
        state = self._state

        def restore() -> None:
            if memory is None or memory != _numpy_memory():
                np.random.set_state(state)

        return restore


def _numpy_memory() -> bytes | None:
    """Return the memory of NumPy's global generator; None where it is not the usual one.

    The words that it draws from, and what the object keeps beside them: a second Gaussian.
    """
    generator = np.random.get_bit_generator()  # type: ignore[attr-defined]
    if type(generator) is not np.random.MT19937:
        return None
    words = ctypes.string_at(generator.ctypes.state_address, _MT19937_BYTES)
    own, header = np.random.mtrand._rand, object.__basicsize__
    return words + ctypes.string_at(id(own) + header, type(own).__basicsize__ - header)


_numpy_state = _NumpyState()


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
