"""``flor fork --set NAME=VALUE``: what is changed in a restored program."""

from __future__ import annotations

import ast
import ctypes
import difflib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from flor.capture.state import World
from flor.errors import InvalidError

_PLAIN = (bool, int, float, str, list, tuple, dict, type(None))


@dataclass(frozen=True)
class _Place:
    """Somewhere a value can be set: how people call it, what is there, and how to set it."""

    what: str
    old: Any
    put: Callable[[Any], None]


def apply_settings(
    settings: dict[str, str], args: dict[str, Any], world: World, frame: FrameType
) -> list[str]:
    """Set each name wherever it is a ``flor.arg``, an optimizer's option (in all groups) or a
    variable of the program; return what changed, a line each.

    ``NAME`` may go into a variable's attributes (``scheduler.gamma``). All names are looked up
    before the first is set. Raises InvalidError for a name that is nothing of these, and for a
    value that is not of the old one's type.
    """
    objects = world.objects(frame)
    optimizers = [obj for obj in objects if _is_optimizer(obj)]
    todo = []
    for name, text in settings.items():
        places = [
            *_in_args(name, args),
            *_in_optimizers(name, optimizers),
            *_in_variables(name, world, frame),
        ]
        if not places:
            raise InvalidError(_unknown(name, args, optimizers, world, frame))
        todo += [(place, _converted(name, text, place)) for place in places]
    lines = []
    for place, value in todo:
        place.put(value)
        lines.append(f"{place.what}: {_shown(place.old)} becomes {value!r}")
    return lines + _warnings(settings, optimizers, objects)


def _shown(old: Any) -> str:
    return repr(old.item() if hasattr(old, "item") else old)


def _in_args(name: str, args: dict[str, Any]) -> Iterator[_Place]:
    if name in args:
        yield _Place(f"flor.arg {name}", args[name], lambda value: args.update({name: value}))


def _is_optimizer(obj: Any) -> bool:
    groups = getattr(obj, "param_groups", None)
    return isinstance(groups, list) and all(isinstance(group, dict) for group in groups)


def _in_optimizers(name: str, optimizers: list[Any]) -> Iterator[_Place]:
    for optimizer in optimizers:
        for number, group in enumerate(optimizer.param_groups):
            if name in group and name != "params":
                what = f"{type(optimizer).__name__} group {number}, {name}"
                yield _Place(what, group[name], _into(group, name))


def _into(scope: dict[str, Any], name: str) -> Callable[[Any], None]:
    def put(value: Any) -> None:
        old = scope[name]
        if hasattr(old, "fill_"):  # an option kept in a tensor, which others may hold too
            old.fill_(value)
        else:
            scope[name] = value

    return put


def _in_variables(name: str, world: World, frame: FrameType) -> Iterator[_Place]:
    first, *path = name.split(".")
    for where, scope, flush in _scopes(world, frame):
        if first not in scope:
            continue
        if not path:
            if isinstance(scope[first], _PLAIN):
                yield _Place(f"{name} in {where}", scope[first], _variable(scope, first, flush))
            continue
        owner: Any = scope[first]
        for part in path[:-1]:
            owner = getattr(owner, part, None)
        if hasattr(owner, path[-1]):
            last = path[-1]
            put = _attribute(owner, last)
            yield _Place(f"{name} in {where}", getattr(owner, last), put)


def _scopes(
    world: World, frame: FrameType
) -> Iterator[tuple[str, dict[str, Any], Callable[[], None]]]:
    for module in world.user.modules():
        yield module.__name__, vars(module), lambda: None
    for found in world.user.frames(frame):
        yield f"{found.f_code.co_qualname}()", found.f_locals, _flusher(found)


def _flusher(frame: FrameType) -> Callable[[], None]:
    def flush() -> None:
        if sys.version_info < (3, 13):
            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(frame), ctypes.c_int(0))

    return flush


def _variable(scope: dict[str, Any], name: str, flush: Callable[[], None]) -> Callable[[Any], None]:
    def put(value: Any) -> None:
        scope[name] = value
        flush()

    return put


def _attribute(owner: Any, name: str) -> Callable[[Any], None]:
    return lambda value: setattr(owner, name, value)


def _converted(name: str, text: str, place: _Place) -> Any:
    """Read a value as the type of the old one; raises InvalidError."""
    old = place.old.item() if hasattr(place.old, "fill_") and place.old.numel() == 1 else place.old
    if isinstance(old, str):
        return text
    try:
        value = ast.literal_eval({"true": "True", "false": "False"}.get(text.lower(), text))
    except (ValueError, SyntaxError):
        value = text if old is None else object()
    if isinstance(old, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if old is None or (type(value) is type(old) and isinstance(old, _PLAIN)):
        return value
    raise InvalidError(
        f"--set {name}={text}: {place.what} is {_shown(old)}, a {type(old).__name__}; give one"
    )


def _unknown(
    name: str, args: dict[str, Any], optimizers: list[Any], world: World, frame: FrameType
) -> str:
    options = {key for one in optimizers for group in one.param_groups for key in group}
    plain = {
        key
        for _, scope, _ in _scopes(world, frame)
        for key, value in scope.items()
        if isinstance(value, _PLAIN) and not key.startswith("_")
    }
    known = sorted({*args, *(options - {"params"}), *plain})
    near = difflib.get_close_matches(name, known, 5, 0.5) or known[:8]
    return (
        f"--set {name}: the program has no flor.arg, optimizer option or variable of that name; "
        f"it has {', '.join(near) or 'none'}"
    )


def _warnings(settings: dict[str, str], optimizers: list[Any], objects: list[Any]) -> list[str]:
    """Say where a learning rate that was set may be computed anew."""
    if "lr" not in settings:
        return []
    schedulers = [
        obj
        for obj in objects
        if hasattr(obj, "base_lrs")
        and any(getattr(obj, "optimizer", None) is o for o in optimizers)
    ]
    return [
        f"note: {type(one).__name__} may compute lr anew from its base_lrs {one.base_lrs}"
        for one in schedulers
    ]
