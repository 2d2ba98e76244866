"""The ways to a state, tried one after the other, each in an interpreter of its own.

The same process goes on: an attempt that fails is replaced by the next one (``exec``), so that the
terminal, signals, and the exit code stay with the command that the user typed.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

from flor.recording import hash_seed

REFUSED = 2
WORKER = "flor.travel.worker"


def say(text: str) -> None:
    """Tell the user something, beside what the program prints."""
    print(f"flor: {text}", file=sys.stderr, flush=True)


class Attempts:
    """What to do and the ways to try (``routes``), in a file of the folder ``scratch``."""

    def __init__(self, scratch: Path, plan: dict[str, Any]) -> None:
        self.scratch = scratch
        self.plan = plan

    @classmethod
    def read(cls, scratch: Path) -> Attempts:
        """Return the attempts that :meth:`run` wrote."""
        return cls(scratch, json.loads((scratch / "plan.json").read_text()))

    @property
    def current(self) -> dict[str, Any]:
        """The way that is tried now."""
        found: dict[str, Any] = self.plan["routes"][self.plan["attempt"]]
        return found

    def run(self, environment: dict[str, str] | None = None) -> NoReturn:
        """Become the process that tries the current way."""
        (self.scratch / "plan.json").write_text(json.dumps(self.plan), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()
        words = [sys.executable, "-m", WORKER, str(self.scratch)]
        known = os.environ | hash_seed.inherited() if environment is None else environment
        os.execve(sys.executable, words, known)

    def next(self, reason: str) -> NoReturn:
        """Say why this way failed and try the next; with none left, exit with code 2."""
        for child in multiprocessing.active_children():
            child.kill()
        self.plan["attempt"] += 1
        if self.plan["attempt"] < len(self.plan["routes"]):
            say(f"{reason}; trying {self.current['shown']}")
            self.run()
        self.fail(reason)

    def fail(self, reason: str) -> NoReturn:
        """Say why and exit with code 2."""
        say(f"{self.plan['failed']}: {reason}")
        self.done()
        sys.stdout.flush()
        os._exit(REFUSED)

    def done(self) -> None:
        """Remove the scratch folder, and what a fork that never began has left."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        if self.plan.get("fork"):
            folder = Path(self.plan["store"]) / "runs" / self.plan["fork"]
            if not (folder / "run.json").exists():
                with contextlib.suppress(OSError):
                    shutil.rmtree(folder)
