"""Processes that the program starts with :mod:`multiprocessing`: each becomes a rank of the run.

The process that records the run is rank 0. Every process that runs the program's own code gets the
next number when it is started: by its target, by the ``run`` of its class, or by the function that
``torch.multiprocessing.spawn`` is given. Workers of pools, of data loaders and of executors run a
package's code and are none.

What a child must know is at hand in a forked one; to one with an interpreter of its own it comes
with the data that multiprocessing sends ahead of the program, as something that calls
:func:`arrive` when it is unpickled. So neither the command nor ``os.environ`` changes. A child that
neither trains nor logs leaves nothing.
"""

from __future__ import annotations

import functools
import multiprocessing.process
import os
import runpy
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, Protocol

from flor import _core
from flor.capture.usercode import UserCode
from flor.errors import FlorError
from flor.layout import StoreLayout, run_status
from flor.recording import hash_seed
from flor.recording import loops as active

Process: Any = multiprocessing.process.BaseProcess
_BOOTSTRAP = Process._bootstrap
_SPAWNED = "torch.multiprocessing.spawn"


class Rank(Protocol):
    """What a child does as a rank. It travels by pickle."""

    def begin(self, forked: bool) -> None:
        """Take over what is recorded or replayed in this process, before its program runs."""
        ...

    def compile(self, path: str) -> CodeType | None:
        """Return the code of the program's main file; None: as Python compiles it."""
        ...

    def watch(self, process: Any) -> None:
        """The process object of this child is known, and about to run."""
        ...

    def end(self, exit_code: int) -> None:
        """The child's program has ended."""
        ...


class _Here(threading.local):
    """What the process that this thread is starting is to be; in the child, until it begins."""

    rank: Rank | None = None


_here = _Here()
_begun: tuple[int, Rank] | None = None  # what this process is: its id, so that no child inherits it


class Children:
    """Makes a rank of every process of the program that starts, from :meth:`install` on.

    ``rank_of(number)`` tells a child what it is; None: it stays as it is. Thread-safe.
    """

    def __init__(self, user: UserCode, rank_of: Callable[[int], Rank | None]) -> None:
        self._user = user
        self._rank_of = rank_of
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._start = Process.start
        self._started: dict[int, weakref.ref[Any]] = {}

    def install(self) -> None:
        """Watch ``Process.start``."""
        original, watch = self._start, self._watched

        @functools.wraps(original)
        def start(process: Any) -> None:
            watch(process, original)

        Process.start = start

    def remove(self) -> None:
        """Leave ``Process.start`` as it was."""
        Process.start = self._start

    def _watched(self, process: Any, original: Callable[[Any], None]) -> None:
        ours = os.getpid() == self._pid and any(map(self._is_users, _codes(process)))
        if not ours:
            original(process)
            return
        with self._lock:
            number = len(self._started) + 1
            self._started[number] = weakref.ref(process)
            _here.rank = self._rank_of(number)
            try:
                with _sent_ahead(_here.rank):
                    original(process)
            finally:
                _here.rank = None

    def _is_users(self, code: CodeType) -> bool:
        return self._user.is_user_file(code.co_filename)

    def outcome(
        self, layout: StoreLayout, run: str, status: str, note: Callable[[str], None]
    ) -> str:
        """Write down how the ranks of the children ended; return the status of the whole run.

        ``status``: this process's own. ``note(text)`` keeps what the user should know.
        """
        for rank, code in self._ended_by().items():
            try:
                meta = layout.read_rank(run, rank)
                how = run_status(meta)
                if how == "killed":
                    layout.write_rank(run, rank, meta | {"status": how, "exit_code": code})
            except FlorError:  # it recorded nothing
                continue
            if how in ("failed", "killed") and code != -signal.SIGTERM:  # as multiprocessing ends
                note(f"rank {rank} {'was killed' if how == 'killed' else 'failed'} ({code})")
                status = how if status == "completed" else status
        return status

    def _ended_by(self) -> dict[int, int | None]:
        """Return the exit code of each child by its number, -N for signal N; None: not known."""
        found: dict[int, int | None] = {}
        for number, ref in self._started.items():
            process = ref()
            try:
                found[number] = None if process is None else process.exitcode
            except ValueError:  # closed
                found[number] = None
        return found


def _codes(process: Any) -> Iterator[CodeType]:
    """Yield the code that a process is to run, as far as it is Python's."""
    target = getattr(process, "_target", None)
    if target is None:
        yield type(process).run.__code__
    elif getattr(target, "__module__", None) == _SPAWNED:
        for argument in getattr(process, "_args", ()):
            yield from _codes_of(argument)
    else:
        yield from _codes_of(target)


def _codes_of(function: Any, depth: int = 2) -> Iterator[CodeType]:
    """Yield the code of a function, and of those that it is made of (partials, launchers)."""
    function = getattr(function, "__func__", function)
    if isinstance(code := getattr(function, "__code__", None), CodeType):
        yield code
        return
    parts: tuple[Any, ...] = ()
    if isinstance(function, tuple):
        parts = function
    elif callable(function):
        call = getattr(type(function).__call__, "__code__", None)
        if isinstance(call, CodeType):
            yield call
        parts = (getattr(function, "func", None), *getattr(function, "__dict__", {}).values())
    for part in parts if depth else ():
        if callable(part) or isinstance(part, tuple):
            yield from _codes_of(part, depth - 1)


# -- on the way ------------------------------------------------------------------------------------


@contextmanager
def _sent_ahead(rank: Rank | None) -> Iterator[None]:
    """Let a process that starts now find its rank and the hash seed, whatever way it starts."""
    if Process._bootstrap is _BOOTSTRAP:
        Process._bootstrap = _bootstrap
        _send_with_preparation()
    seed = hash_seed.inherited() if rank is not None else {}
    for name, value in seed.items():
        os.putenv(name, value)  # os.environ does not see it
    try:
        yield
    finally:
        _forget(seed)


def _send_with_preparation() -> None:
    """Add the rank that this thread starts to what a new interpreter is sent first."""
    from multiprocessing import spawn

    get_data = spawn.get_preparation_data

    def get_more(name: str) -> dict[str, Any]:
        rank = _here.rank
        return get_data(name) | ({} if rank is None else {"flor": _Arrival(rank)})

    spawn.get_preparation_data = get_more


def _forget(names: dict[str, str]) -> None:
    for name in names:
        os.unsetenv(name)


class _Arrival:
    """Calls :func:`arrive` where it is unpickled."""

    def __init__(self, rank: Rank) -> None:
        self._rank = rank

    def __reduce__(self) -> tuple[Callable[[Rank], None], tuple[Rank]]:
        return arrive, (self._rank,)


# -- in the child ----------------------------------------------------------------------------------


def arrive(rank: Rank) -> None:
    """Begin in a process that has an interpreter of its own, before its main module is imported."""
    hash_seed.claim()
    Process._bootstrap = _bootstrap
    _begin(rank, forked=False)
    from multiprocessing import spawn

    fix_up = spawn._fixup_main_from_path  # type: ignore[attr-defined]

    def fix_up_main(path: str) -> None:
        with _main_compiled(rank, path):
            fix_up(path)

    spawn._fixup_main_from_path = fix_up_main  # type: ignore[attr-defined]


@contextmanager
def _main_compiled(rank: Rank, main: str) -> Iterator[None]:
    """Run the main file, as multiprocessing does it, with the rank's code for it."""
    run_path: Any = runpy.run_path
    run_code: Any = runpy._run_module_code  # type: ignore[attr-defined]

    def run(path: str, init_globals: Any = None, run_name: Any = None) -> dict[str, Any]:
        code = rank.compile(path) if path == main else None
        if code is None:
            found: dict[str, Any] = run_path(path, init_globals, run_name)
        else:
            found = run_code(code, init_globals, run_name, pkg_name="", script_name=path)
        return found

    runpy.run_path = run  # type: ignore[assignment]
    try:
        yield
    finally:
        runpy.run_path = run_path


def _bootstrap(process: Any, parent_sentinel: Any = None) -> int:
    """Stands in for ``Process._bootstrap``: what a child runs from its beginning to its end."""
    rank, _here.rank = _here.rank, None
    if rank is not None:
        _forget(hash_seed.inherited())
        _core.context_reset()
        active.leave_all()
        _begin(rank, forked=True)
    mine = _begun[1] if _begun is not None and _begun[0] == os.getpid() else None
    if mine is not None:
        mine.watch(process)
    code: int = _BOOTSTRAP(process, parent_sentinel)
    if mine is not None:
        mine.end(code)
    return code


def _begin(rank: Rank, *, forked: bool) -> None:
    """Become a rank; the program goes on whether that works or not."""
    global _begun
    try:
        rank.begin(forked)
    except (OSError, ValueError, FlorError) as error:
        print(f"flor: a process is not recorded: {error}", file=sys.stderr)
    else:
        _begun = os.getpid(), rank
