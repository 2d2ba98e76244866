"""Failures in the background of a run: told once, kept in run.json, raised in strict mode."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from pathlib import Path

from flor.errors import FullDiskError, StorageError

_RESERVE_BYTES = 64 << 10
_KEPT = 50


class Troubles:
    """What went wrong in the background of one run; ``lost`` counts values that were not stored."""

    def __init__(self, run: str, strict: bool) -> None:
        self.errors: list[str] = []
        self.lost = 0
        self._run = run
        self._strict = strict
        self._told: set[str] = set()

    def tell(self, text: str) -> None:
        """Tell a failure on standard error, the first of its kind only, and keep it."""
        kind = "full disk" if "No space left" in text else re.sub(r"\S*/\S+", "", text)
        if kind in self._told:
            return
        self._told.add(kind)
        self.errors = [*self.errors, text][:_KEPT]
        print(f"flor: {text}. The training goes on; see: flor show {self._run}", file=sys.stderr)

    def check(self) -> None:
        """Raise the first failure in strict mode: FullDiskError, StorageError."""
        if self._strict and self.errors:
            text = self.errors[0]
            raise (FullDiskError if "No space left" in text else StorageError)(text)


class Reserve:
    """A little space on the disk, held while a run lasts: its run.json can still say what went
    wrong when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "reserve"
        with contextlib.suppress(OSError), self._path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _RESERVE_BYTES)

    def release(self) -> None:
        """Give the space back."""
        with contextlib.suppress(OSError):
            self._path.unlink()
