"""``flor shell``: an interactive Python with a program's live objects as they were."""

from __future__ import annotations

import code
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from flor import _core
from flor.capture.checkpoint_file import CheckpointFile
from flor.recording.mainloop import MainLoop
from flor.replay.view import set_files
from flor.travel.attempts import Attempts
from flor.travel.session import TravelSession, Trip


class ShellSession(TravelSession):
    """Takes the program to a state and talks to the user there. Nothing is recorded, ever."""

    def __init__(self, layout: Any, options: Any, trip: Trip, attempts: Attempts) -> None:
        super().__init__(layout, options, trip.facts.run, trip)
        self._attempts = attempts
        self._store = _core.ChunkStore(str(layout.root), readonly=True)
        self._stdout = os.dup(1)

    def _begin(self) -> None:
        self.meta = dict(self.facts.meta) | {"args": dict(self.facts.meta.get("args") or {})}
        self._print_to(os.open(os.devnull, os.O_WRONLY))  # what it prints on the way was printed
        self._log_aside()
        self._attach()

    def _print_to(self, descriptor: int) -> None:
        sys.stdout.flush()
        os.dup2(descriptor, 1)
        os.close(descriptor)

    def refuse(self, reason: str) -> NoReturn:
        """Try the next way."""
        self._print_to(self._stdout)
        self._attempts.next(reason)

    def fail(self, reason: str) -> NoReturn:
        """Give up."""
        self._attempts.fail(reason)

    def put_files(self, file: CheckpointFile) -> None:
        """Make the scratch folder what the run's was."""
        set_files(Path.cwd(), file.files(), file.removed_files())

    def log_slowly(self, name: object, value: Any) -> None:
        """Let go of it: what is logged on the way is the run's, which has it."""

    def _final_version(self) -> None:
        """The version is the run's."""

    def commit(self, main: MainLoop | None, frame: FrameType | None) -> None:
        """Talk to the user; the program does not go on."""
        assert frame is not None and self.trip.route.target is not None
        self._detach()
        self._print_to(self._stdout)
        names = _names(self, frame)
        banner = (
            f"run {self.run} at {self.trip.route.target}; files written here go to {Path.cwd()}, "
            "which goes when you leave"
        )
        status = interact(names, banner)
        self._attempts.done()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _names(session: TravelSession, frame: FrameType) -> dict[str, Any]:
    """Return the main module's own variables; inside of functions a copy, with their variables."""
    variables = vars(sys.modules["__main__"])
    frames = session.user.frames(frame)
    for found in frames:
        variables = {**variables, **found.f_locals}
    return variables


def interact(names: dict[str, Any], banner: str) -> int:
    """Run an interactive Python, IPython where it is installed; return the exit code.

    When stdin is not a terminal its statements are executed without a prompt, and a failed one
    makes the exit code 1.
    """
    if not sys.stdin.isatty():
        return _Statements(names).run()
    print(banner)
    if importlib.util.find_spec("IPython") is not None:
        ipython = importlib.import_module("IPython")
        ipython.start_ipython(argv=["--HistoryManager.enabled=False"], user_ns=names)
        return 0
    return _Statements(names).talk()


class _Statements(code.InteractiveConsole):
    """Python's own console: an expression shows its value, an error its traceback."""

    failed = False

    def talk(self) -> int:
        """Prompt on the terminal."""
        try:
            import readline
            import rlcompleter

            readline.set_completer(rlcompleter.Completer(self.locals).complete)
            readline.parse_and_bind("tab: complete")
        except ImportError:
            pass
        return self._ended(lambda: self.interact(banner="", exitmsg=""))

    def run(self) -> int:
        """Execute what stdin holds."""
        return self._ended(lambda: self.interact(banner="", exitmsg="")) or int(self.failed)

    def _ended(self, session: Any) -> int:
        from flor.recording.launch import exit_code

        try:
            session()
        except SystemExit as end:
            return exit_code(end)
        return 0

    def raw_input(self, prompt: str = "") -> str:
        """Return the next line; prompts on a terminal only."""
        if sys.stdin.isatty():
            return super().raw_input(prompt)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.removesuffix("\n")

    def write(self, data: str) -> None:
        """Show a traceback; the console's own line breaks are for terminals."""
        if data.strip():
            sys.stderr.write(data)

    def showtraceback(self) -> None:
        """Show a traceback, and remember it for the exit code."""
        self.failed = True
        super().showtraceback()

    def showsyntaxerror(self, filename: str | None = None, **more: Any) -> None:
        """Show a syntax error, and remember it for the exit code."""
        self.failed = True
        super().showsyntaxerror(filename, **more)
