"""What ``flor replay`` was asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReplayRequest:
    """The options of ``flor replay``, as given; None where not given.

    ``run``: id, prefix or 'latest'. ``only``: loop name → (first, last), both included.
    """

    run: str = "latest"
    store: Path | None = None
    script: Path | None = None
    workers: int = 1
    only: tuple[tuple[str, int, int], ...] = ()
    all: bool = False
    where: str | None = None
    sample: int | None = None
    report: Path | None = None
    dry_run: bool = False
    force: bool = False
    trust: bool = False
