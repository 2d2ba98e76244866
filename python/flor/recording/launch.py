"""Run a user's program as if by ``python``, under a recording session."""

from __future__ import annotations

import runpy
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flor.errors import InvalidError
from flor.recording import session as sessions
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

    def prepare() -> None:
        sessions.install(RecordSession.start(options))

    code = run_module(module, args, prepare) if module else run_main(str(script), args, prepare)
    recording = sessions.existing()
    if isinstance(recording, RecordSession):
        recording.outcome("completed" if code == 0 else "failed", code)  # it finishes at exit
    return code


def run_main(
    script: str,
    args: list[str],
    prepare: Callable[[], None],
    code: types.CodeType | None = None,
    seen_as: str | None = None,
) -> int:
    """Execute a script as ``__main__``; ``prepare`` is called once ``__main__`` and argv are set.

    ``seen_as``: the path that the program sees as its own (``__file__``, its folder on
    ``sys.path``). Returns the exit code. A traceback shows the script's own frames only.
    """
    path = seen_as or script
    main = types.ModuleType("__main__")
    main.__file__ = path
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    sys.argv = [path, *args]
    sys.path[0] = str(Path(path).resolve().parent)

    def execute() -> None:
        exec(code or compile(Path(script).read_bytes(), script, "exec"), main.__dict__)

    prepare()
    return _guarded(execute)


def run_module(module: str, args: list[str], prepare: Any) -> int:
    """Execute ``-m MODULE``."""
    sys.argv = [module, *args]
    sys.path[0] = str(Path.cwd())
    prepare()
    return _guarded(lambda: runpy.run_module(module, run_name="__main__", alter_sys=True))


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
