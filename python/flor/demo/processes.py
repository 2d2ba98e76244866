"""The demo's child processes: flor commands as a user would type them, timed, with a bar."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from flor.errors import FlorError

POLL_SECONDS = 0.5


class DemoError(FlorError, RuntimeError):
    """A command of the demo failed."""


@dataclass(frozen=True)
class Finished:
    """A command that ended well: what it printed, and how long it took."""

    output: str
    seconds: float


def command_line(words: tuple[str, ...]) -> str:
    """Return the command as a user would type it."""
    return " ".join(["flor", *words])


def run_flor(
    *words: str,
    console: Console,
    folder: Path,
    store: Path,
    label: str,
    done: Callable[[], float] | None = None,
) -> Finished:
    """Run ``flor WORDS`` in ``folder``; ``done`` tells the part that is done, between 0 and 1.

    Raises DemoError with the command's whole output when it fails.
    """
    start = time.perf_counter()
    with (folder / "command.log").open("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flor", *words],
            cwd=folder,
            env=os.environ | {"FLOR_STORE": str(store)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _watch(process, console, label, done)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
        seconds = time.perf_counter() - start
        output.seek(0)
        text = output.read()
    if process.returncode != 0:
        raise DemoError(f"`{command_line(words)}` exited with {process.returncode}:\n{text}")
    return Finished(text, seconds)


def _watch(
    process: subprocess.Popen[bytes],
    console: Console,
    label: str,
    done: Callable[[], float] | None,
) -> None:
    columns = [TextColumn("  {task.description}"), BarColumn(40), TaskProgressColumn()]
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(f"{label:<46}", total=None if done is None else 1.0)
        while process.poll() is None:
            if done is not None:
                progress.update(task, completed=done())
            try:
                process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                continue
        progress.update(task, total=1.0, completed=1.0)
