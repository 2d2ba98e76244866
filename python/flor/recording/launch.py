"""Run a user's program as if by ``python``, under a recording session."""

from __future__ import annotations

import importlib.util
import sys
import traceback
import types
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from flor.errors import InvalidError, SourceError
from flor.instrument.source import read_source
from flor.recording import session as sessions
from flor.recording.handsfree import Programs, is_explicit
from flor.recording.options import Options
from flor.recording.record import RecordSession

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
) -> int:
    """Run SCRIPT (or a module) with its own argv under recording; return its exit code."""
    options = Options(store, overhead, settings or {}, strict)
    if script is not None and not Path(script).is_file():
        raise InvalidError(f"no script {script!r}: give the path of a Python file")
    spec = find_module(module) if module else None
    path = str(spec.origin) if spec else str(script)
    programs = programs_of(path)

    def prepare() -> None:
        session = RecordSession.start(options, str(Path.cwd()) if module else None)
        sessions.install(session)
        session.meta |= {"module": module, "handsfree": programs is not None}
        if programs is not None:
            session.watch_loops(programs)

    compiled = programs.compile(path) if programs else None
    code = run_main(path, args, prepare, compiled, spec=spec)
    recording = sessions.existing()
    if isinstance(recording, RecordSession):
        recording.outcome("completed" if code == 0 else "failed", code)  # it finishes at exit
    return code


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
) -> int:
    """Execute a script as ``__main__``; ``prepare`` is called once ``__main__`` and argv are set.

    ``seen_as``: the path that the program sees as its own (``__file__``, its folder on
    ``sys.path``). ``spec``: of a module that runs as with ``-m``. Returns the exit code. A
    traceback shows the script's own frames only.
    """
    path = seen_as or script
    main = types.ModuleType("__main__")
    main.__file__ = path
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    sys.argv = [path, *args]
    sys.path[0] = str(Path.cwd() if spec else Path(path).resolve().parent)
    if spec is not None:
        main.__spec__, main.__loader__, main.__package__ = spec, spec.loader, spec.parent

    def execute() -> None:
        exec(code or compile(Path(script).read_bytes(), script, "exec"), main.__dict__)

    prepare()
    return _guarded(execute)


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
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    return 0


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
