"""State of the process that no variable holds: environment, working folder, precision, levels of
logging, how numbers are printed and which errors are raised.

What the outside decides (environment, locale, folder, levels) counts from the entry of the main
loop on: a replay starts from another shell, in a folder of its own.
"""

from __future__ import annotations

import decimal
import locale
import logging
import os
import sys
from typing import Any

import numpy as np

from flor.errors import CaptureError

_DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")

_environment: dict[str, str] = {}
_folder = ""
_locale: str | None = None
_levels: dict[str, int] = {}


def enter() -> None:
    """The main loop is entered: what the outside decides counts from here."""
    global _environment, _folder, _locale, _levels
    _environment, _folder, _locale = dict(os.environ), _cwd(), _locale_now()
    _levels = _levels_now()


def settings() -> dict[str, Any]:
    """Return the settings as JSON can keep them."""
    now = dict(os.environ)
    changed = {k: now.get(k) for k in {*now, *_environment} if now.get(k) != _environment.get(k)}
    language = _locale_now()
    return {
        "environment": dict(sorted(changed.items())) if _folder else {},
        "folder": os.path.relpath(_cwd(), _folder) if _folder else ".",
        "locale": None if _locale in (None, language) else language,
        "recursion": sys.getrecursionlimit(),
        "numpy_errors": np.geterr(),
        "numpy_prints": _prints(),
        "decimal": _decimal(),
        **({"logging": levels} if (levels := _levels_changed()) else {}),
    }


def restore(found: dict[str, Any]) -> None:
    """Put :func:`settings` back; CaptureError where that can't be."""
    for name in {*settings()["environment"], *found["environment"]}:
        value = found["environment"].get(name, _environment.get(name))
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _restore_folder(found["folder"])
    _restore_locale(found["locale"])
    sys.setrecursionlimit(found["recursion"])
    np.seterr(**found["numpy_errors"])
    if found["numpy_prints"] != _prints():
        if None in found["numpy_prints"].values() and "formatter" in found["numpy_prints"]:
            raise CaptureError("functions that print arrays (numpy.set_printoptions) can't be set")
        np.set_printoptions(**found["numpy_prints"])
    if found["decimal"] != _decimal():
        _restore_decimal(found["decimal"])
    _restore_levels(found.get("logging", {}))


def _cwd() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - compared as text
    except FileNotFoundError:
        return ""


def _restore_folder(name: str) -> None:
    target = os.path.normpath(os.path.join(_folder or ".", name))  # noqa: PTH118
    if not _folder or target == _cwd():
        return
    if name.startswith(".."):
        raise CaptureError(f"the working folder was changed to {name}, which a replay can't enter")
    try:
        os.chdir(target)
    except OSError as error:
        raise CaptureError(f"the working folder was {name}: {error}") from None


def _locale_now() -> str:
    return locale.setlocale(locale.LC_ALL)


def _restore_locale(name: str | None) -> None:
    wanted = _locale if name is None else name
    if wanted is not None and wanted != _locale_now():
        locale.setlocale(locale.LC_ALL, wanted)


def _levels_now() -> dict[str, int]:
    """Levels of loggers; of all together under a name that no logger has."""
    manager = logging.root.manager
    loggers = list(manager.loggerDict.items())
    found = {name: each.level for name, each in loggers if isinstance(each, logging.Logger)}
    found = {name: level for name, level in found.items() if level}  # others are made by asking
    return found | {"": logging.root.level, ".disabled": manager.disable}


def _levels_changed() -> dict[str, int]:
    """Levels that differ from those at the entry; none where no loop was entered."""
    if not _folder:
        return {}
    now = _levels_now()
    names = sorted({*now, *_levels})
    return {n: now.get(n, 0) for n in names if now.get(n, 0) != _levels.get(n, 0)}


def _restore_levels(found: dict[str, int]) -> None:
    for name in {*_levels_changed(), *found}:
        level = found.get(name, _levels.get(name, 0))
        if name == ".disabled":
            logging.disable(level)
        else:
            logging.getLogger(name or None).setLevel(level)


def _prints() -> dict[str, Any]:
    """NumPy's options; functions among them can't be kept: then ``formatter`` is there, as None."""
    found: dict[str, Any] = dict(np.get_printoptions())
    functions = [name for name in ("formatter", "override_repr") if found.pop(name, None)]
    return found | ({"formatter": None} if functions else {})


def _decimal() -> dict[str, Any]:
    """What arithmetic goes by; not its flags of what has happened, which any question may raise."""
    context = decimal.getcontext()
    traps = sorted(signal.__name__ for signal, is_set in context.traps.items() if is_set)
    return {name: getattr(context, name) for name in _DECIMAL} | {"traps": traps}


def _restore_decimal(found: dict[str, Any]) -> None:
    context = decimal.getcontext()
    for name in _DECIMAL:
        setattr(context, name, found[name])
    for signal in context.traps:
        context.traps[signal] = signal.__name__ in found["traps"]
