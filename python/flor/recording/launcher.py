"""``flor record -m torch.distributed.run …``: the program is a launcher, its children are the
ranks.

The launcher itself is not watched: what it prints passes through. Of the processes that it starts,
those that run Python programs become ranks, numbered by ``RANK`` (0 where there is none): their
command gets ``-m flor.recording.rank_main`` in front of the program, and what that must know goes
through the environment, from which it takes it before the program starts. A child that is no
Python program, or a second one of the same number (the launcher has restarted its ranks), runs as
without flor; the run says so.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from flor.layout import run_status
from flor.recording import hash_seed
from flor.recording.folder import Folder
from flor.recording.rank import HANDOVER, Handover
from flor.recording.record import RecordSession
from flor.recording.trouble import Reserve
from flor.runlock import hold_run

_MODULES = {
    "torch.distributed.run",
    "torch.distributed.launch",
    "accelerate.commands.launch",
    "accelerate.commands.accelerate_cli",
}
_SCRIPTS = {"torchrun", "accelerate", "accelerate-launch"}
_WITH_VALUE = ("-W", "-X")
# What the launcher tells about itself and a replay's ranks have no use for.
_ITS_OWN = {"TORCHELASTIC_ERROR_FILE"}
_WORST = ("killed", "failed", "running", "completed")


def is_launcher(script: str, spec: ModuleSpec | None) -> bool:
    """Whether a program is a launcher of ranks that flor knows."""
    name = spec.name.removesuffix(".__main__") if spec else Path(script).name
    return name in (_MODULES if spec else _SCRIPTS)


class LauncherSession(RecordSession):
    """Begins a run for the ranks to join, and notes at the end what became of them."""

    def _begin(self) -> None:
        self.layout.log_dir(self.run).mkdir(parents=True)
        self.layout.checkpoint_dir(self.run).mkdir()
        hold_run(self.layout.run_dir(self.run))  # until the process ends
        self._reserve = Reserve(self.layout.run_dir(self.run))
        self._folder = Folder(Path.cwd(), self.layout.root)
        self.meta = self._first_meta() | {"launching": True}
        self.layout.write_run(self.run, self.meta)
        self._environment = dict(os.environ)
        self._ranks: dict[int, float] = {}
        self._popen = subprocess.Popen.__init__
        subprocess.Popen.__init__ = self._wrap(self._popen)  # type: ignore[method-assign]

    def _save_version(self) -> str | None:
        return None  # of the launcher's own source; the ranks have the program's

    def _wrap(self, popen: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(popen)
        def start(process: Any, args: Any, *more: Any, **options: Any) -> None:
            command = args
            if not more and isinstance(args, (list, tuple)) and "executable" not in options:
                command, options = self._as_rank([os.fspath(one) for one in args], options)
            popen(process, command, *more, **options)

        return start

    def _as_rank(
        self, command: list[str], options: dict[str, Any]
    ) -> tuple[list[str], dict[str, Any]]:
        """Return how a child is started that is to record itself as a rank."""
        environment = dict(options.get("env") or os.environ)
        program = split_python(command)
        rank = environment.get("RANK", "0")
        if program is None or not rank.isdigit():
            return command, options
        if int(rank) in self._ranks:
            self.note(f"rank {rank} was started again: only its first process is recorded")
            return command, options
        self._ranks[int(rank)] = time.time()
        set_by_launcher = {
            name: value
            for name, value in environment.items()
            if self._environment.get(name) != value and name not in _ITS_OWN
        }
        how = {"launcher": self._command(), "env": set_by_launcher}
        told = Handover(str(self.layout.root), self.run, int(rank), self.options.content(), how)
        python, script = program
        environment |= {HANDOVER: told.text(), **hash_seed.inherited()}
        return [*python, "-m", "flor.recording.rank_main", *script], options | {"env": environment}

    def _command(self) -> list[str]:
        return [str(self.meta.get("module") or self.meta["argv0"]), *self.meta["argv"]]

    def note(self, text: str) -> None:
        """Keep a limit in the run; told at the end, since run.json is rank 0's meanwhile."""
        if text not in self.meta["notes"]:
            self.meta["notes"].append(text)

    def save(self) -> None:
        """Replace run.json, as long as it is this process's."""
        if not self._ranks:
            super().save()

    def finish(self, status: str = "completed", exit_code: int | None = 0) -> None:
        """Note how the launcher ended, and with it the run."""
        if self._finished or os.getpid() != self._pid:
            return
        self._finished = True
        subprocess.Popen.__init__ = self._popen  # type: ignore[method-assign]
        if self.meta["status"] != "running":
            status, exit_code = self.meta["status"], self.meta["exit_code"]
        mine, begun = self.meta, self.meta["started"]
        found = [self.layout.read_rank(self.run, rank) for rank in self.layout.ranks(self.run)]
        if found and not self.layout.read_run(self.run).get("launching"):
            self.meta = found[0]
            self.meta["notes"] = [*self.meta["notes"], *mine["notes"]]
            self._troubles.errors[:0] = self.meta["errors"]
        if status == "completed":
            status = min(map(run_status, found), key=_WORST.index, default=status)
        self.meta |= {"status": status, "exit_code": exit_code, "started": begun}
        self._reserve.release()
        if self._store is not None:
            self._attempt("the store was not closed well", self._store.close)
        self._ranks.clear()
        self.save()


def split_python(command: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """Split a command into (this interpreter and its options, the program and its arguments).

    None where it is no program that this interpreter runs from a file or as a module.
    """
    if not command or command[0] not in (sys.executable, Path(sys.executable).name):
        return None
    at = 1
    while at < len(command) and command[at].startswith("-") and command[at] not in ("-m", "-c"):
        at += 2 if command[at] in _WITH_VALUE else 1
    program = list(command[at:])
    if not program or program[0] in ("-c", "-"):
        return None
    return list(command[:at]), program
