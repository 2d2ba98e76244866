"""What a checkpoint costs a training that goes on: the call, and the slower steps after it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from flor.bench.harness import Experiment, Figure, Figures
from flor.bench.peers import Peer
from flor.bench.suites import Plan, snapshot_frozen

QUESTION = "What does a checkpoint cost a training of a transformer with AdamW?"
UNFAIR = """
flor's checkpoint is complete when it survives a power loss; the peers write without fsync and are
counted as durable when their own handle says so. flor also keeps random states, aliases and, where
there are any, gradients (here there are none), and compresses to a difference; the peers write
plain bytes. memcpy copies every tensor of the state into warm memory and writes nothing. The step
to which the others are compared is the median of the steps of the same process in which nothing was
in flight; with two threads of PyTorch on two cores every background writer takes from the training.
"""

Handle = Callable[[], bool]  # whether it is durable
Save = Callable[[int], Handle]
Method = Callable[[Path, Any], AbstractContextManager[Save]]
PATIENCE_S = 60.0


def cost(folder: Path, method: Method, size: Any, threads: int, every: int, count: int) -> Figures:
    """Train with a checkpoint every so many steps; return the medians of ``count`` of them."""
    import torch

    from flor.bench.workloads import Training

    torch.set_num_threads(threads)
    training = Training(size)
    for _ in range(3):
        training.step()
    found: list[tuple[float, float, list[float]]] = []
    quiet: list[float] = []
    with method(folder, training) as save:
        for number in range(count + 1):
            one = _one(training.step, save, number, every, quiet)
            if number > 0:  # the first is warm-up
                found.append(one)
            else:
                quiet.clear()
    plain = statistics.median(quiet)
    blocked = [one[0] for one in found]
    slower = [sum(step - plain for step in one[2]) for one in found]
    return {
        "blocked": statistics.median(blocked) * 1e3,
        "worst blocked": max(blocked) * 1e3,
        "slowdown": statistics.median(slower) * 1e3,
        "total": statistics.median(a + b for a, b in zip(blocked, slower, strict=True)) * 1e3,
        "durable": statistics.median(one[1] for one in found),
        "step": plain * 1e3,
    }


def _one(
    step: Callable[[], object], save: Save, number: int, every: int, quiet: list[float]
) -> tuple[float, float, list[float]]:
    """One checkpoint and the steps after it: seconds of the call, until durable, and of the steps.

    The step in which it becomes durable belongs to it; later ones, half of ``every`` at least, are
    added to ``quiet``.
    """
    begin = time.perf_counter()
    durable = save(number)
    blocked = time.perf_counter() - begin
    until = blocked if durable() else 0.0
    during: list[float] = []
    after = 0
    while len(during) + after < every or after < every // 2:
        before = time.perf_counter()
        step()
        now = time.perf_counter()
        if until:
            quiet.append(now - before)
            after += 1
            continue
        during.append(now - before)
        if durable():
            until = now - begin
        elif now - begin > PATIENCE_S:
            raise TimeoutError("a checkpoint was not durable after a minute")
    return blocked, until, during


@contextmanager
def flor_save(folder: Path, training: Any, snapshot: str = "auto") -> Iterator[Save]:
    """``flor.Checkpointer.save``: lossless differences, in the background."""
    import flor

    objects = training.objects()
    with flor.Checkpointer(folder / "store", objects, snapshot=snapshot) as checkpointer:

        def save(number: int) -> Handle:
            pending = checkpointer.save()

            def durable() -> bool:
                return pending.done and pending.wait()

            return durable

        yield save


def flor_cooperative(folder: Path, training: Any) -> AbstractContextManager[Save]:
    """What the optimizer owns is read until its next step; nothing is protected for it."""
    return flor_save(folder, training, "cooperative")


def flor_eager(folder: Path, training: Any) -> AbstractContextManager[Save]:
    """Everything is copied in the call."""
    return flor_save(folder, training, "eager")


@contextmanager
def flor_unhooked(folder: Path, training: Any) -> Iterator[Save]:
    """Pages are protected, and nobody says that the optimizer will step."""
    from torch.optim.optimizer import _global_optimizer_pre_hooks as hooks

    with flor_save(folder, training, "protected") as take:

        def save(number: int) -> Handle:
            durable = take(number)
            hooks.clear()
            return durable

        yield save


@contextmanager
def memcpy(folder: Path, training: Any) -> Iterator[Save]:
    """The yardstick: every tensor copied once, into memory that is warm."""
    from flor.bench.workloads import flat

    warm = {name: tensor.clone() for name, tensor in flat(training.state()).items()}

    def save(number: int) -> Handle:
        for name, tensor in flat(training.state()).items():
            warm[name].copy_(tensor)
        return lambda: True

    yield save


def methods() -> list[Peer]:
    """Return flor, the yardstick and the peers."""
    from flor.bench.suites import snapshot_peers as peers

    def peer(name: str, method: Method, **needs: Any) -> Peer:
        return Peer(name, cost, given={"method": method}, **needs)

    return [
        peer("memcpy", memcpy, module="torch"),
        peer("flor", flor_save, module="torch", ours=True),
        peer("flor, cooperative", flor_cooperative, module="torch", ours=True),
        peer("flor, protected, no hook", flor_unhooked, module="torch", ours=True),
        peer("flor, eager", flor_eager, module="torch", ours=True),
        peer("torch.save", peers.torch_save, module="torch"),
        peer("safetensors", peers.safetensors, module="safetensors"),
        peer("fork + torch.save", peers.fork_save, module="torch"),
        peer("deepcopy + thread", peers.deepcopy_thread, module="torch"),
        peer("DCP save", peers.dcp_save, module="torch"),
        peer("DCP async, thread", peers.dcp_async_thread, module="torch"),
        peer("DCP async, process", peers.dcp_async_process, module="torch"),
        peer("torchsnapshot async", peers.torchsnapshot_async, module="torchsnapshot"),
    ]


def experiments(plan: Plan) -> Iterator[Experiment]:
    """Yield: with a core to spare, and with PyTorch on all cores."""
    from flor.bench import workloads

    size = workloads.QUICK if plan.quick else workloads.LARGE
    for title, threads in (("A core to spare", 1), ("Both cores in use", 2)):
        if not plan.wants(title) or (plan.quick and threads > 1):
            continue
        yield plan.experiment(
            title,
            f"{threads} thread(s) of PyTorch, a checkpoint every 10 steps. slowdown: what the "
            "steps lost until it was durable. total: both.",
            [
                Figure("blocked", "ms"),
                Figure("slowdown", "ms"),
                Figure("total", "ms"),
                Figure("worst blocked", "ms"),
                Figure("durable", "s after the call"),
                Figure("step", "ms, with nothing in flight"),
            ],
            methods(),
            (1, 3),
            base="memcpy",
            timeout_s=300.0,
            size=size,
            threads=threads,
            every=10,
            count=2 if plan.quick else 4,
        )
    yield from snapshot_frozen.experiments(plan)
