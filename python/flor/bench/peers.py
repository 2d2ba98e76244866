"""Peers that may be installed, and a line for each that is not."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from flor.bench.apart import apart
from flor.bench.harness import Figures, Subject

YARDSTICK = ""  # needs nothing but flor's own dependencies


@dataclass(frozen=True)
class Peer:
    """A subject that needs an installed package.

    ``module`` is what it imports, ``package`` what ``pip install`` takes (the same when empty).
    """

    name: str
    function: Callable[..., Figures]
    module: str = YARDSTICK
    package: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    ours: bool = False

    def missing(self) -> str:
        """Return why it can't take part, or nothing."""
        if self.module == YARDSTICK or _found(self.module):
            return ""
        package = self.package or self.module.partition(".")[0]
        return f"{self.name}: left out, {package} is not installed (pip install {package})"


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its package
        return False


def subjects(
    peers: Sequence[Peer], scratch: Path, timeout_s: float = 900.0, **given: Any
) -> tuple[list[Subject], list[str]]:
    """Return the subjects of the peers that are there, each apart, and a line for each other."""
    found, skipped = [], []
    for peer in peers:
        if reason := peer.missing():
            skipped.append(reason)
            continue
        run = apart(peer.function, scratch, timeout_s=timeout_s, **(given | peer.given))
        found.append(Subject(peer.name, run, peer.ours))
    return found, skipped


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    out = {}
    for name in packages:
        try:
            out[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return out
