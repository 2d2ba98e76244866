"""A subject in a process of its own, so that no peer's threads, allocator or exit handlers touch
another's figures.

The processes are forked from a server that has imported NumPy and PyTorch and done nothing else: a
start costs milliseconds. Each has a fresh folder, which is also its working folder and its HOME.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from flor.bench.harness import BenchError, Figures

TIMEOUT_S = 900.0


def apart(
    function: Callable[..., Figures], scratch: Path, *, timeout_s: float = TIMEOUT_S, **given: Any
) -> Callable[[], Figures]:
    """Return what runs ``function(folder, **given)`` in a new process and returns its figures.

    ``function`` is a module's own and ``given`` can be pickled. ``folder`` is below ``scratch`` and
    removed afterwards. Raises BenchError when the process fails or takes longer than ``timeout_s``.
    """

    def run() -> Figures:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        try:
            return _run(function, folder, timeout_s, given)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return run


def command_cost(command: list[str], folder: Path) -> Figures:
    """Run a command in ``folder``, with its store there; return ``wall`` and ``cpu`` in seconds.

    The processes that it started and waited for are inside. Raises BenchError if it fails.
    """
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"FLOR_STORE": str(folder / "store")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - begin
    if done.returncode:
        raise BenchError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu}


def _run(
    function: Callable[..., Figures], folder: Path, timeout_s: float, given: dict[str, Any]
) -> Figures:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["numpy", "torch", "flor"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, function, folder, given))
    process.start()
    theirs.close()
    figures, problem, patience_s = None, f"no answer within {timeout_s:.0f} s", 0.0
    try:
        if ours.poll(timeout_s):
            figures, problem = ours.recv()
            patience_s = 10.0
    except EOFError:
        process.join()
        problem = f"its process ended with {process.exitcode}"
    finally:
        _end(process, patience_s)
    if problem:
        raise BenchError(f"{problem}\n{_tail(folder / 'output.txt')}".strip())
    assert isinstance(figures, dict)
    return figures


def _end(process: Any, patience_s: float) -> None:
    """Let it end, and then what it started: a peer may leave a service behind."""
    process.join(patience_s)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # one that has not got as far as to lead a group
    process.join()
    process.close()


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-1000:] if path.exists() else ""


def _child(
    answer: Connection, function: Callable[..., Figures], folder: Path, given: dict[str, Any]
) -> None:
    with contextlib.suppress(PermissionError):
        os.setpgid(0, 0)
    os.chdir(folder)
    os.environ["HOME"] = str(folder)
    # What a peer prints belongs to nobody, unless it fails.
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    gc.freeze()  # what the server has imported is no subject's garbage
    try:
        answer.send((dict(function(folder, **given)), ""))
    except BaseException as error:
        traceback.print_exc()
        answer.send((None, f"{type(error).__name__}: {error}"))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
