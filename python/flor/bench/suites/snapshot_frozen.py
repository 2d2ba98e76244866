"""What the frozen part of a model costs in checkpoint after checkpoint."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flor.bench.harness import Experiment, Figure, Figures
from flor.bench.peers import Peer
from flor.bench.suites import Plan

SHARE = 0.8
WARM = 4  # checkpoints until what is frozen is known to be


def checkpoints(folder: Path, size: Any, whole: bool, count: int) -> Figures:
    """Train a fifth of a model; checkpoint all of it, or that part alone; return medians."""
    import torch

    import flor
    from flor.bench.workloads import Training

    torch.set_num_threads(1)
    training = Training(size)
    frozen = freeze(training)
    trained = [p for p in training.model.parameters() if p.requires_grad]
    objects = training.objects() if whole else {"p": trained, "optimizer": training.optimizer}
    taken = []
    with flor.Checkpointer(folder / "store", objects) as checkpointer:
        for number in range(WARM + count):
            training.step()
            pending = checkpointer.save()
            pending.wait()
            if number >= WARM:
                taken.append(pending)
    return {
        "stored": statistics.median(each.stored_bytes for each in taken) / 1e6,
        "call": statistics.median(each.stall_seconds for each in taken) * 1e3,
        "background": statistics.median(each.background_cpu_seconds for each in taken) * 1e3,
        "frozen": (frozen if whole else 0) / 1e6,
    }


def freeze(training: Any) -> int:
    """Freeze the larger part of a model's parameters; return how many bytes that are."""
    params = sorted(training.model.parameters(), key=lambda p: -p.numel())
    whole, frozen = sum(p.numel() for p in params), 0
    for param in params:
        if frozen + param.numel() <= SHARE * whole:
            frozen += param.numel()
            param.requires_grad_(False)
    training.optimize(1e-4)
    return 4 * frozen


def experiments(plan: Plan) -> Iterator[Experiment]:
    """Yield one: all of the model beside the part that is trained."""
    from flor.bench import workloads

    title = "Frozen parts"
    if not plan.wants(title):
        return
    yield plan.experiment(
        title,
        "Four fifths of the model are frozen. What all of it costs more than the part that is "
        "trained is what the frozen part costs.",
        [
            Figure("stored", "MB a checkpoint"),
            Figure("call", "ms in the core"),
            Figure("background", "ms of processor time"),
            Figure("frozen", "MB"),
        ],
        [
            Peer("the trained part alone", checkpoints, "torch", given={"whole": False}, ours=True),
            Peer("all of the model", checkpoints, "torch", given={"whole": True}, ours=True),
        ],
        (1, 3),
        base="the trained part alone",
        size=workloads.QUICK if plan.quick else workloads.LARGE,
        count=3 if plan.quick else 6,
    )
