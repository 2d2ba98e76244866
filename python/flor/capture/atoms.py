"""Immutable values that the walk writes in place, and how they come back.

Tags: ``["b", base64]`` bytes · ``["c", re, im]`` complex · ``["t", [...]]`` tuple · ``["nt", type,
[...]]`` named tuple · ``["fs", [...]]`` frozenset · ``["g", module, qualname]`` something found by
name · ``["e", type, name]`` enum member · ``["x", name, args]`` a value rebuilt by one of a fixed
list of constructors · ``["np", dtype, hex]`` NumPy scalar · ``["file", name]`` a standard stream.
Nothing here is ever unpickled.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import enum
import fractions
import importlib
import pathlib
import re
import struct
import sys
import types
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np

from flor.errors import CaptureError

INLINE = frozenset({type(None), bool, int, float, str})


def type_name(kind: type) -> list[str]:
    """Return [module, qualname]."""
    return [kind.__module__, kind.__qualname__]


def _global(obj: Any) -> list[Any]:
    return ["g", obj.__module__, obj.__qualname__]


def _reduced(obj: Any) -> list[Any]:
    return ["x", type(obj).__name__, _CONSTRUCTORS[type(obj).__name__][0](obj)]


_CONSTRUCTORS: dict[str, tuple[Callable[[Any], list[Any]], Callable[..., Any]]] = {
    "range": (lambda v: [v.start, v.stop, v.step], range),
    "slice": (lambda v: [v.start, v.stop, v.step], slice),
    "Decimal": (lambda v: [str(v)], decimal.Decimal),
    "Fraction": (lambda v: [v.numerator, v.denominator], fractions.Fraction),
    "UUID": (lambda v: [v.hex], uuid.UUID),
    "PosixPath": (lambda v: [str(v)], pathlib.Path),
    "PurePosixPath": (lambda v: [str(v)], pathlib.PurePosixPath),
    "Pattern": (lambda v: [v.pattern, v.flags], re.compile),
    "date": (lambda v: [v.isoformat()], datetime.date.fromisoformat),
    "datetime": (lambda v: [v.isoformat()], datetime.datetime.fromisoformat),
    "timedelta": (
        lambda v: [v.days, v.seconds, v.microseconds],
        datetime.timedelta,
    ),
    "time": (lambda v: [v.isoformat()], datetime.time.fromisoformat),
    "timezone": (
        lambda v: [v.utcoffset(None).total_seconds(), v.tzname(None)],
        lambda seconds, name: datetime.timezone(datetime.timedelta(seconds=seconds), name),
    ),
    "Struct": (lambda v: [v.format], struct.Struct),
    "dtype": (lambda v: [v.str], np.dtype),
}

TABLE: dict[type, Callable[[Any], list[Any]]] = {
    bytes: lambda v: ["b", base64.b64encode(v).decode()],
    complex: lambda v: ["c", v.real, v.imag],
    type(Ellipsis): lambda v: ["g", "builtins", "Ellipsis"],
    type(NotImplemented): lambda v: ["g", "builtins", "NotImplemented"],
    types.ModuleType: lambda v: ["g", v.__name__, ""],
    **dict.fromkeys((range, slice, decimal.Decimal, fractions.Fraction, uuid.UUID), _reduced),
    **dict.fromkeys((pathlib.PosixPath, pathlib.PurePosixPath), _reduced),
    **dict.fromkeys((datetime.date, datetime.datetime, datetime.timedelta), _reduced),
    **dict.fromkeys((datetime.time, datetime.timezone, struct.Struct), _reduced),
}

_LOG = ["g", "flor._core", "log"]
_STREAMS = {"stdin": sys.__stdin__, "stdout": sys.__stdout__, "stderr": sys.__stderr__}
_BY_NAME = (types.BuiltinFunctionType, types.MethodDescriptorType, types.WrapperDescriptorType)
_NAMED_OBJECTS = (
    *(types.ModuleType, enum.Enum, type, np.generic, np.dtype, types.FunctionType, np.ufunc),
    *_BY_NAME,
)
_HARMLESS: tuple[str, ...] = (
    *("logging.", "warnings.", "threading.local", "_thread.", "tqdm.", "rich.", "typing."),
    *("fsspec.", "tensorboard.", "torch.utils.tensorboard."),  # named after this process
    *("lightning.pytorch.callbacks.progress.", "pytorch_lightning.callbacks.progress."),
)
_TORCH_ATOMS = ("dtype", "device", "layout", "memory_format", "iinfo")
_HARMLESS_TYPES = ("types.GenericAlias", "types.UnionType", "_cython_")


def named_value(obj: Any, user: Any) -> list[Any] | None:
    """Encode what is known by a name or is immutable by its type; None for everything else."""
    if obj is _public_log():
        return _LOG
    if isinstance(obj, types.ModuleType):
        known = sys.modules.get(obj.__name__) is obj
        return ["g", obj.__name__, ""] if known else ["still", "module"]
    if isinstance(obj, enum.Enum):
        plain = type(obj).__members__.get(obj.name or "") is obj  # else a union of flags
        return ["e", type_name(type(obj)), obj.name if plain else ["value", obj.value]]
    if isinstance(obj, type):
        return None if user.is_user_module(obj.__module__) else _global(obj)
    if isinstance(obj, np.generic):
        return ["np", obj.dtype.str, obj.tobytes().hex()]
    if isinstance(obj, np.dtype) or type(obj).__name__ in ("Pattern",):
        return ["x", "dtype" if isinstance(obj, np.dtype) else "Pattern", _args_of(obj)]
    if isinstance(obj, types.FunctionType) or type(obj).__name__ == "cython_function_or_method":
        return _named_function(obj, user)
    if isinstance(obj, np.ufunc):
        name = str(obj.__name__)
        return ["g", "numpy", name] if getattr(np, name, None) is obj else None
    if isinstance(obj, _BY_NAME) and _unbound(obj):
        return ["g", obj.__module__ or "builtins", obj.__qualname__]
    for name, stream in _STREAMS.items():
        if obj is stream or obj is getattr(sys, name):
            return ["file", name]
    return _package_value(obj)


def never_named(kind: type) -> bool:
    """Whether :func:`named_value`, not knowing one object of a type, knows none of them."""
    by_object = issubclass(kind, _NAMED_OBJECTS) or kind in map(type, _STREAMS.values())
    return not by_object and kind.__name__ not in ("Pattern", "cython_function_or_method", "lock")


def _public_log() -> Any:
    """Return what ``from flor import log`` gives: in a replay it is not the core's function."""
    return getattr(sys.modules.get("flor"), "log", _LOG)


def _unbound(obj: Any) -> bool:
    """Whether a C function belongs to its module or its type, not to some object."""
    owner = getattr(obj, "__self__", None)
    return owner is None or owner is sys.modules.get(obj.__module__ or "")


def _args_of(obj: Any) -> list[Any]:
    if isinstance(obj, np.dtype):
        return [obj.str]
    return [obj.pattern, obj.flags]


def _named_function(obj: Any, user: Any) -> list[Any] | None:
    """A function of an installed package that its module knows by name; others are nodes.

    What flor put in the place of one has a closure, and is known by the name all the same.
    """
    ours = str(getattr(obj, "__globals__", {}).get("__name__")).startswith("flor.")
    if (getattr(obj, "__closure__", None) and not ours) or user.is_user_module(obj.__module__):
        return None
    try:
        return _global(obj) if find(obj.__module__, obj.__qualname__) is obj else None
    except CaptureError:
        return None


def _package_value(obj: Any) -> list[Any] | None:
    """Values of packages: torch's immutable ones by repr; flor's own, loggers, locks by type."""
    kind = type(obj)
    module = kind.__module__
    if module == "torch" and kind.__name__ in _TORCH_ATOMS:
        return ["torch", kind.__name__, str(obj)]
    if module.startswith("flor.") or module == "flor":
        # A loop that the program keeps: the same in record and replay, and not restored, so its
        # position tells a state that was jumped to from the recorded one.
        known_as = getattr(obj, "captured_as", None)
        return ["flor", *known_as] if known_as else ["flor", kind.__qualname__]
    full = f"{module}.{kind.__qualname__}"
    held = full == "_thread.lock" and obj.locked()
    if full.startswith(_HARMLESS + _HARMLESS_TYPES) and not held:
        return ["still", full]
    return None


def find(module: str, qualname: str) -> Any:
    """Return what ``module`` calls ``qualname``; raises CaptureError when it is not there."""
    if module == "builtins":  # types that say so but are only reachable through `types`
        for kind in vars(types).values():
            if isinstance(kind, type) and kind.__qualname__ == qualname:
                return kind
    try:
        found: Any = sys.modules.get(module) or importlib.import_module(module)
        for part in qualname.split(".") if qualname else ():
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise CaptureError(f"{module}.{qualname} is not there any more: {error}") from None
    return found


def build(tag: str, rest: list[Any]) -> Any:
    """Rebuild an atom from its tag and payload; CaptureError for a tag that is not an atom's."""
    if tag == "b":
        return base64.b64decode(rest[0])
    if tag == "c":
        return complex(rest[0], rest[1])
    if tag == "g":
        if [tag, *rest] == _LOG:
            return _public_log()
        return find(rest[0], rest[1])
    if tag == "e":
        kind, name = find(*rest[0]), rest[1]
        return kind(name[1]) if isinstance(name, list) else kind[name]
    if tag == "x":
        return _CONSTRUCTORS[rest[0]][1](*rest[1])
    if tag == "np":
        return np.frombuffer(bytes.fromhex(rest[1]), dtype=rest[0])[0]
    if tag == "file":
        return getattr(sys, rest[0])
    if tag == "torch":
        return _build_torch(rest[0], rest[1])
    raise CaptureError(f"a value of kind {tag!r} can't be rebuilt")


def _build_torch(kind: str, text: str) -> Any:
    torch = importlib.import_module("torch")
    if kind == "device":
        return torch.device(text)
    return getattr(torch, text.removeprefix("torch."))
