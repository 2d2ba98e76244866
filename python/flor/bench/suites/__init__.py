"""The suites, one module each: QUESTION, UNFAIR and ``experiments(plan)``."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from flor.bench.harness import Experiment, Figure, Subject
from flor.bench.peers import Peer, subjects

NAMES = ("log", "snapshot", "codec", "store", "train")

# Whose versions a report names.
PACKAGES = (
    *("torch", "numpy", "flordb", "loguru", "mlflow-skinny", "picologging", "tensorboard"),
    *("wandb", "h5py", "pyarrow", "safetensors", "torchsnapshot", "zarr"),
    *("blosc2", "lz4", "pcodec", "z4ai", "zipnn", "zstandard"),
)


@dataclass(frozen=True)
class Plan:
    """How a suite is to be run: where it may write, how much, with whom, which experiments."""

    scratch: Path
    quick: bool = False
    rounds: int | None = None
    peers: bool = True
    only: str = ""

    def wants(self, title: str) -> bool:
        """Whether the experiment of this title is to be run."""
        return self.only.lower() in title.lower()

    def experiment(
        self,
        title: str,
        question: str,
        figures: list[Figure],
        peers: list[Peer],
        rounds: tuple[int, int],
        *,
        base: str,
        timeout_s: float = 900.0,
        notes: list[str] | None = None,
        **given: Any,
    ) -> Experiment:
        """Return an experiment whose subjects are called with ``given``.

        ``rounds`` are those of a quick and of a full run. Without peers only flor and the base
        take part.
        """
        chosen = [one for one in peers if self.peers or one.ours or one.name == base]
        found, skipped = subjects(chosen, self.scratch, timeout_s, **given)
        count = self.rounds or rounds[0 if self.quick else 1]
        return Experiment(title, question, figures, found, count, base, skipped, notes or [])


class Suite(Protocol):
    """What a module of this package is."""

    QUESTION: str
    UNFAIR: str

    def experiments(self, plan: Plan) -> Iterator[Experiment]:
        """Yield the experiments that the plan wants; each is measured before the next is made."""


def load(name: str) -> Suite:
    """Return a suite by name."""
    return cast(Suite, importlib.import_module(f"flor.bench.suites.{name}"))


__all__ = ["NAMES", "PACKAGES", "Experiment", "Figure", "Plan", "Subject", "Suite", "load"]
