"""Run a user's program as if by ``python``, under a recording session."""

from __future__ import annotations

import builtins
import importlib.util
import os
import sys
import time
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import Any, NoReturn

from flor.errors import InvalidError, SourceError
from flor.instrumentation.source import read_source
from flor.recording import session as sessions
from flor.recording.handsfree import Programs, is_explicit
from flor.recording.launcher import LauncherSession, is_launcher
from flor.recording.options import Options
from flor.recording.record import RecordSession

INTERRUPTED = 130  # the exit code, in run.json, of what Ctrl-C ended
last_error: BaseException | None = None
"""What ended the last program, when an exception did."""


def record_script(
    script: str | None,
    args: list[str],
    *,
    module: str | None = None,
    store: Path | None = None,
    overhead: float | None = None,
    settings: dict[str, str] | None = None,
    strict: bool = False,
    files_budget: int | None = None,
) -> int:
    """Run SCRIPT (or a module) with its own argv under recording; return its exit code."""
    start_up = time.process_time()
    options = Options(
        store,
        overhead,
        settings or {},
        strict,
        start_up=start_up,
        files_budget=files_budget,
    )
    program = Program.of_module(module, args) if module else Program.of_script(str(script), args)
    if is_launcher(program.path, program.spec):
        return record_program(program, lambda root: LauncherSession.start(options, root))
    return record_program(program, lambda root: RecordSession.start(options, root))


@dataclass(frozen=True)
class Program:
    """What is run as ``__main__``. ``spec``: of a module that runs as with ``-m``."""

    path: str
    args: list[str]
    argv0: str | None
    spec: ModuleSpec | None = None

    @classmethod
    def of_script(cls, script: str, args: list[str]) -> Program:
        """Return the program in a file; raises InvalidError where there is none."""
        if not Path(script).is_file():
            raise InvalidError(f"no script {script!r}: give the path of a Python file")
        return cls(_absolute(script), args, script)

    @classmethod
    def of_module(cls, module: str, args: list[str]) -> Program:
        """Return what ``-m MODULE`` runs; raises InvalidError where there is nothing."""
        spec = find_module(module)
        return cls(str(spec.origin), args, None, spec)

    @property
    def module(self) -> str | None:
        """The module that ``-m`` was given."""
        return self.spec.name.removesuffix(".__main__") if self.spec else None


def record_program(program: Program, begin: Callable[[str | None], RecordSession]) -> int:
    """Run a program under the session that ``begin(root of its files)`` starts; return its exit
    code.
    """
    watched = not is_launcher(program.path, program.spec)
    programs = programs_of(program.path) if watched else None

    def prepare() -> None:
        session = begin(str(Path.cwd()) if program.spec else None)
        sessions.install(session)
        session.meta |= {"module": program.module, "handsfree": programs is not None}
        session.save()
        if programs is not None:
            session.watch_loops(programs)

    code = programs.compile(program.path) if programs else None
    ended = run_main(
        program.path, program.args, prepare, code, spec=program.spec, argv0=program.argv0
    )
    if last_error is not None:
        last_error.__traceback__ = None  # its frames would keep the program's objects at exit
    recording = sessions.existing()
    if isinstance(recording, RecordSession):
        recording.outcome("completed" if ended == 0 else "failed", ended)  # it finishes at exit
    return ended


def programs_of(script: str) -> Programs | None:
    """Return what makes the loops of a program visible; None where it names them by itself.

    A script that does not parse is Python's to complain about.
    """
    with suppress(SourceError):
        return None if is_explicit(read_source(script)) else Programs()
    return None


def find_module(module: str) -> ModuleSpec:
    """Return the spec of what ``-m MODULE`` runs; raises InvalidError where there is none."""
    sys.path[0] = str(Path.cwd())
    with suppress(ModuleNotFoundError, ValueError):
        spec = importlib.util.find_spec(module)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{module}.__main__")
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            return spec
    raise InvalidError(f"no module {module!r} that can be run: give what python -m takes")


def run_main(
    script: str,
    args: list[str],
    prepare: Callable[[], None],
    code: types.CodeType | None = None,
    seen_as: str | None = None,
    spec: ModuleSpec | None = None,
    argv0: str | None = None,
) -> int:
    """Execute a script as ``__main__``; ``prepare`` is called once ``__main__`` and argv are set.

    ``seen_as``: the path that the program sees as its own (``__file__``, its folder on
    ``sys.path``). ``spec``: of a module that runs as with ``-m``. ``argv0``: ``sys.argv[0]``, where
    that is not the path. Returns the exit code. A traceback shows the script's own frames only.
    """
    path = seen_as or script
    main = _main_module(path, spec)
    sys.modules["__main__"] = main
    if "__mp_main__" in sys.modules:  # how multiprocessing calls it, once it was imported
        sys.modules["__mp_main__"] = main
    sys.argv = [argv0 or path, *args]
    sys.path[0] = str(Path.cwd() if spec else Path(path).resolve().parent)

    def execute() -> None:
        exec(code or _compiled(script), main.__dict__)

    prepare()
    return _guarded(lambda: _with_room(execute))


def _with_room(call: Callable[[], None]) -> None:
    call()


# CPython keeps the frames of a thread in chunks of 16 KB, and a call that crosses the end of one
# maps a new chunk and unmaps it afterwards: 10 us, each time. Where that happens depends on how
# many frames lie below, so flor's own moved it: importing torch mapped 12,000 chunks more than
# without flor. This frame asks for so many slots that one chunk of twice their size is mapped, once
# (it takes memory as it is used), and the program's frames have the rest of it.
_ROOM_SLOTS = 1 << 15
_with_room.__code__ = _with_room.__code__.replace(co_stacksize=_ROOM_SLOTS)


def _main_module(path: str, spec: ModuleSpec | None) -> types.ModuleType:
    """Return an empty ``__main__``, as Python makes it."""
    main = types.ModuleType("__main__")
    found = {
        "__file__": path,
        "__builtins__": builtins,
        "__cached__": None,
        "__annotations__": {},
        "__loader__": SourceFileLoader("__main__", path),
    }
    if spec is not None:
        found |= {"__spec__": spec, "__loader__": spec.loader, "__package__": spec.parent}
        found["__cached__"] = spec.cached
    vars(main).update(found)
    return main


def _compiled(script: str) -> types.CodeType:
    """Compile a script without this file's own ``__future__`` imports."""
    code: types.CodeType = compile(Path(script).read_bytes(), script, "exec", dont_inherit=True)
    return code


def _absolute(script: str) -> str:
    """Return a script's path as Python shows it: joined with the working folder, else as given."""
    return os.path.join(Path.cwd(), script)  # noqa: PTH118 - Path would tidy it


def _guarded(execute: Any) -> int:
    global last_error
    try:
        execute()
    except SystemExit as end:
        return exit_code(end)
    except BaseException as error:
        if type(error).__name__ == "Refused":  # a replay worker gives up: not the program's error
            raise
        last_error = error
        show_traceback(error)
        return INTERRUPTED if isinstance(error, KeyboardInterrupt) else 1
    return 0


def leave(code: int) -> NoReturn:
    """End this process with the program's exit code; never returns.

    Where Ctrl-C ended the program, as Python then does: once everything at exit has run, the
    process kills itself by SIGINT, so that a shell sees it and stops its script too.
    """
    if not isinstance(last_error, KeyboardInterrupt):
        sys.exit(code)
    sys.excepthook = lambda *_: None  # the traceback was shown
    raise KeyboardInterrupt


def exit_code(end: SystemExit) -> int:
    """Return the exit code that a SystemExit asks for; prints its message like Python does."""
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def show_traceback(error: BaseException) -> None:
    """Print the traceback without the frames of flor and of runpy above the script's."""
    trace = error.__traceback__
    ours = str(Path(__file__).resolve().parent.parent)
    while trace is not None and trace.tb_next is not None:
        name = trace.tb_frame.f_code.co_filename
        if not (name.startswith(ours) or "runpy" in name):
            break
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)
