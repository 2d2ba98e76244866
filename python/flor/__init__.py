"""flor: record a training run cheaply, ask it questions afterwards, get the exact answers.

Importing does nothing but define names: the first call opens the store and starts the run.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Iterable, Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

from flor import _core
from flor.errors import FlorError

if TYPE_CHECKING:
    from flor.checkpointer import Checkpointer
    from flor.handle import Store
    from flor.intermediate.api import intermediates
    from flor.intermediate.pipelines.stages import stage
    from flor.logger import Logger
    from flor.query import Table
    from flor.recording.checkpointing import checkpointing

__version__ = "0.1.0"
__all__ = [
    "Checkpointer",
    "FlorError",
    "Logger",
    "Store",
    "arg",
    "checkpointing",
    "instrument",
    "intermediates",
    "load",
    "log",
    "logs",
    "loop",
    "open",
    "runs",
    "sql",
    "stage",
]

_T = TypeVar("_T")
_V = TypeVar("_V")
_LAZY = {
    "Checkpointer": "flor.checkpointer",
    "Logger": "flor.logger",
    "Store": "flor.handle",
    "checkpointing": "flor.recording.checkpointing",
    "intermediates": "flor.intermediate.api",
    "stage": "flor.intermediate.pipelines.stages",
}

log = _core.log
"""log(name, value) -> value: record a value in the current context. Once it has returned, the
record survives ``kill -9``. Scalars, strings, bytes, None, JSON-like values, NumPy arrays and
tensors; any thread.
"""


def _log_slowly(name: object, value: Any) -> None:
    from flor.recording import session

    session.log_slowly(name, value)


_core.set_slow_path(_log_slowly)


@atexit.register  # as early as can be: what the program registers itself still logs
def _end() -> None:
    session = sys.modules.get("flor.recording.session")
    if session is not None:
        session.end()


def loop(name: str, iterable: Iterable[_T]) -> Iterator[_T]:
    """Iterate ``iterable`` as the loop ``name``: what is logged inside carries (name, iteration
    from 0).
    """
    from flor.recording import session

    return session.current().loop(name, iterable)


def instrument(target: _T) -> _T:
    """Make the loops of a function visible: contexts of what is logged in them, and blocks that
    replay restores instead of running. Returns ``target``; also a decorator.

    ``target``: a function, method, class or module of the program, not of an installed package. The
    main loop is found and checkpointed as under ``flor record``; nothing else is touched. Functions
    keep their identity: only their code is replaced. Loops of generators are contexts while they
    run, ``async for`` stays as it is. Again for the same target: no effect. Call it before the loop
    begins, from the main thread. Raises InvalidError for what is not written in Python or not as in
    its file now, SourceError for a file that can't be read.
    """
    from flor.instrumentation import functions
    from flor.recording import session

    for function in functions.functions_of(target):
        if not functions.has_sites(function.__code__, _core.LoopSite):
            function.__code__ = session.current().instrument(function.__code__) or function.__code__
    return target


def arg(name: str, default: _V) -> _V:
    """Return a hyperparameter: ``default``, ``flor record --set name=value``, or in replay the
    recorded value.
    """
    from flor.recording import session

    value: _V = session.current().arg(name, default)
    return value


def open(path: str | PathLike[str] | None = None) -> Store:
    """Return the store at ``path`` (None: ``FLOR_STORE``, else ``./.flor``).

    Raises NotAStoreError.
    """
    from flor.handle import Store

    return Store(path)


def runs() -> Table:
    """Return a table with a row a run."""
    return open().runs()


def logs(*names: str, run: str | None = None) -> Table:
    """Return logged values: without names a row a record; with names a row a context, a column a
    name.
    """
    return open().logs(*names, run=run)


def sql(query: str) -> Table:
    """Answer SQL over the tables logs, wide, runs and checkpoints."""
    return open().sql(query)


def load(
    run: str | None = None, at: dict[str, int] | None = None, rank: int | None = None
) -> dict[str, Any]:
    """Return {name: state} at the end of iteration ``at`` (None: the last checkpoint) of a run.

    ``rank``: of a run of several; None: the first that has checkpoints.
    """
    return open().load(run, at, rank)


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module 'flor' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(module), name)
    globals()[name] = value
    return value
