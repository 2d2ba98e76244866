"""Runs the workers of a replay. ``LocalEngine``: processes of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from flor.errors import CorruptError
from flor.files import read_json, storage_error
from flor.recording import hash_seed
from flor.replay.leash import WorkerProcess
from flor.replay.plan import Plan
from flor.replay.records import INTERNAL, Record, read_records

POLL_SECONDS = 0.02
_TAIL = 4000
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_ADDRESS = {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_USE_AGENT_STORE": "False"}
_KEPT = ("CUBLAS_WORKSPACE_CONFIG", *_THREADS)


@dataclass(frozen=True)
class Outcome:
    """What became of one worker. ``result``: its result file, {} where it died before the end."""

    number: int
    folder: Path
    returncode: int
    pid: int
    result: dict[str, Any] = field(default_factory=dict)
    rank: int = 0

    @property
    def died(self) -> bool:
        """Whether the worker ended without telling a result."""
        return not self.result

    @cached_property
    def records(self) -> list[Record]:
        """What the statements that the run had too logged again."""
        return _users(read_records(self.folder / "log" / "records"))

    @cached_property
    def probe_log(self) -> list[Record]:
        """What the added statements logged, and between them where they stood (``AFTER``)."""
        return read_records(self.folder / "log" / "probes")

    @property
    def probes(self) -> list[Record]:
        """What the added statements logged."""
        return _users(self.probe_log)

    def stderr_tail(self) -> str:
        """Return the end of what the worker wrote to stderr."""
        with contextlib.suppress(OSError):
            return (self.folder / "stderr").read_text(errors="replace")[-_TAIL:].strip()
        return ""


def _users(records: list[Record]) -> list[Record]:
    return [record for record in records if not record.name.startswith(INTERNAL)]


class Engine(Protocol):
    """Something that runs all segments of a plan and returns what became of them, in order."""

    def execute(self, plan: Plan, folder: Path) -> list[Outcome]:
        """Run the workers of ``plan``, each in a folder of its own below ``folder``."""
        ...


class LocalEngine:
    """Runs workers as processes of this machine, ``plan.workers`` at once.

    ``quiet``: without a progress bar of its own.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet

    def execute(self, plan: Plan, folder: Path) -> list[Outcome]:
        """Run the workers; Ctrl-C ends them all. Raises StorageError, CorruptError."""
        waiting = list(range(len(plan.segments)))
        running: dict[int, WorkerProcess] = {}
        outcomes: list[Outcome] = []
        # Short, outside of the store: sockets in it have a limit of 108 bytes. The workers can't
        # remove their folders, the write ban keeps them from the one above.
        temporary = tempfile.TemporaryDirectory(prefix="flor-", ignore_cleanup_errors=True)
        try:
            with temporary, _progress(len(waiting), self._quiet) as advance:
                while waiting or running:
                    while waiting and len(running) < plan.workers:
                        number = waiting.pop(0)
                        own = Path(temporary.name, str(number))
                        places = {"temporary": str(own)}
                        running[number] = start(plan, number, folder / str(number), places)
                    time.sleep(POLL_SECONDS)
                    for number in [n for n, p in running.items() if p.poll() is not None]:
                        process = running.pop(number)
                        process.end()
                        outcomes.append(outcome_of(number, folder / str(number), process))
                        advance()
        finally:
            for process in running.values():
                process.end()
        return sorted(outcomes, key=lambda outcome: outcome.number)


def start(
    plan: Plan,
    number: int,
    folder: Path,
    places: dict[str, Any],
    port: int | None = None,
) -> WorkerProcess:
    """Start the worker ``number`` of a plan in ``folder``; raises StorageError.

    ``places``: the temporary folder outside of the store, and what else the worker is to use
    instead of its own. ``port``: where the ranks of a launcher meet; None: at a free one.
    """
    path = prepare(plan, number, folder, places)
    try:
        return WorkerProcess(
            [sys.executable, "-m", "flor.replay.worker", str(path)],
            worker_environment(plan.recorded.meta, port),
            folder / "stdout",
            folder / "stderr",
        )
    except OSError as cause:
        raise storage_error(cause, folder, "start a worker in") from cause


def prepare(plan: Plan, number: int, folder: Path, places: dict[str, Any]) -> Path:
    """Make the folder of a worker and return the plan file in it; as :func:`start`."""
    content = plan.worker(number, folder) | places
    try:
        Path(content["temporary"]).mkdir(exist_ok=True)
        for part in ("log/records", "log/probes"):
            (folder / part).mkdir(parents=True)
        Path(content["scratch"]).mkdir(exist_ok=True)
        path = folder / "plan.json"
        path.write_text(json.dumps(content), encoding="utf-8")
    except OSError as cause:
        raise storage_error(cause, folder, "start a worker in") from cause
    return path


def worker_environment(meta: dict[str, Any], port: int | None = None) -> dict[str, str]:
    """Return a worker's environment: this one's without flor's, the run's threads, and what a
    launcher had set, with an address of its own at ``port`` (None: a free one).
    """
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FLOR_")}
    threads = meta.get("threads")
    known = threads if isinstance(threads, dict) else {"torch": threads}
    if isinstance(known.get("torch"), int):
        environment |= dict.fromkeys(_THREADS, str(known["torch"]))
    for recorded in (known, meta.get("env") or {}):
        environment |= {k: str(v) for k, v in recorded.items() if k in _KEPT and v is not None}
    if meta.get("hash_seed_chosen"):
        environment |= hash_seed.handed_over(str(meta["hash_seed"]))
    elif meta.get("hash_seed") is not None:
        environment["PYTHONHASHSEED"] = str(meta["hash_seed"])
    environment |= _launched(meta, port)
    environment["PYTHONDONTWRITEBYTECODE"] = "1"  # nothing is written into the user's folders
    return environment


def _launched(meta: dict[str, Any], port: int | None) -> dict[str, str]:
    launched: dict[str, str] = (meta.get("how") or {}).get("env") or {}
    changed = _ADDRESS | ({"MASTER_PORT": str(port or free_port())} if launched else {})
    return launched | {name: value for name, value in changed.items() if name in launched}


def free_port() -> int:
    """Return a port of this machine that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def outcome_of(number: int, folder: Path, process: WorkerProcess | None) -> Outcome:
    """Return what became of an ended worker; ``process``: None where another worker started it."""
    result: dict[str, Any] = {}
    path = folder / "result.json"
    if path.exists():
        with contextlib.suppress(CorruptError):
            result = read_json(path)
    if process is None:
        return Outcome(number, folder, 0 if result else -1, int(result.get("pid") or 0), result)
    return Outcome(number, folder, process.returncode, process.pid, result)


@contextlib.contextmanager
def _progress(total: int, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar of finished workers on stderr where that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("replay"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=total)
        yield lambda: bar.advance(task)
