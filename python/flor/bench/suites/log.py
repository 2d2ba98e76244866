"""What one log call costs its caller, and how many a thread can make."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from operator import is_ as empty_call
from pathlib import Path
from typing import Any

from flor import _core
from flor.bench.harness import BenchError, Experiment, Figure, Figures
from flor.bench.peers import Peer
from flor.bench.suites import Plan, log_peers
from flor.bench.summary import quantile

QUESTION = "What does it cost a training to keep one number?"
UNFAIR = """
A call of flor ends with its record in a shared mapping: `kill -9` does not lose it. The same holds
for `logging` and picologging (a system call each) and for MLflow. `list.append` keeps values in
memory only; queues (QueueHandler, loguru's `enqueue`, TensorBoard, W&B) may lose their last ones,
FlorDB what was not committed. MLflow and W&B keep more than a number (times, steps, metadata). The
tight loop outruns every background thread; a training does not. The slow peers are called fewer
times.
"""
_FLOAT = 0.5

Call = Callable[[str, float], Any]
Open = Callable[[Path], AbstractContextManager[Call]]


def tight(call: Call, count: int) -> float:
    """Return nanoseconds a call in a loop, the empty loop taken off."""
    numbers, clock = range(count), time.perf_counter_ns
    begin = clock()
    for _ in numbers:
        pass
    middle = clock()
    for _ in numbers:
        call("loss", _FLOAT)
    return (clock() - middle - (middle - begin)) / count


def one_by_one(call: Call, count: int) -> list[float]:
    """Return the nanoseconds of each call, sorted; the clock's own time is inside."""
    clock = time.perf_counter_ns
    times = [0.0] * count
    for number in range(count):
        begin = clock()
        call("loss", _FLOAT)
        times[number] = clock() - begin
    return sorted(times)


def cost(folder: Path, open_log: Open, count: int, single: int) -> Figures:
    """Return what a call costs after a warm-up: in a tight loop, and call by call."""
    with open_log(folder) as call:
        for _ in range(max(1, single // 10)):
            call("loss", _FLOAT)
        times = one_by_one(call, single)
        net = tight(call, count)
    quantiles = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {"net": net} | {name: quantile(times, at) for name, at in quantiles.items()}


@contextmanager
def flor_log(folder: Path) -> Iterator[Call]:
    """``flor.log`` in the context of a loop."""
    writer = _core.LogWriter(str(folder), "bench")
    _core.set_active(writer)
    token = _core.context_enter("step")
    _core.context_step(token, 0)
    yield _core.log
    _core.context_leave(token)
    _core.set_active(None)
    writer.close()
    if (lost := writer.stats()["lost"]) != 0:
        raise BenchError(f"{lost} records were lost")


@contextmanager
def empty(folder: Path) -> Iterator[Call]:
    """``operator.is_``: a function of two arguments in C that does next to nothing."""
    yield empty_call


@contextmanager
def appended(folder: Path) -> Iterator[Call]:
    """A tuple with the time, kept in a list."""
    kept: list[tuple[str, float, float]] = []
    append, clock = kept.append, time.time
    yield lambda name, value: append((name, value, clock()))


def sustained(folder: Path, threads: int, seconds: float) -> Figures:
    """Return how many records a second ``threads`` of Python log for so long, all of them kept."""
    writer = _core.LogWriter(str(folder), "bench")
    _core.set_active(writer)
    counts = [0] * threads
    begin = time.perf_counter()

    def produce(number: int) -> None:
        log, batch, clock, done = _core.log, range(10_000), time.perf_counter, 0
        while clock() - begin < seconds:
            for _ in batch:
                log("loss", _FLOAT)
            done += len(batch)
        counts[number] = done

    workers = [threading.Thread(target=produce, args=(i,)) for i in range(threads - 1)]
    for worker in workers:
        worker.start()
    produce(threads - 1)
    for worker in workers:
        worker.join()
    took = time.perf_counter() - begin
    _core.set_active(None)
    writer.close()
    stats = writer.stats()
    if stats["lost"] or stats["records"] != sum(counts):
        raise BenchError(f"{stats['records']} of {sum(counts)} records, {stats['lost']} lost")
    return {
        "rate": sum(counts) / took / 1e6,
        "waits": stats["waits"] / sum(counts) * 1e6,
        "disk": stats["bytes_written"] / sum(counts),
    }


def kept_in_order(folder: Path, threads: int, count: int) -> Figures:
    """Log from several threads, read back, check; return the seconds of both."""
    writer = _core.LogWriter(str(folder), "bench")
    _core.set_active(writer)

    def produce(name: str) -> None:
        for number in range(count):
            _core.log(name, number)

    begin = time.perf_counter()
    workers = [threading.Thread(target=produce, args=(f"t{i}",)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    _core.set_active(None)
    writer.close()
    logged = time.perf_counter()
    _check(folder, threads, count)
    return {"log": logged - begin, "read": time.perf_counter() - logged}


def _check(folder: Path, threads: int, count: int) -> None:
    import pyarrow as pa
    from pyarrow import compute

    table = pa.record_batch(_core.read_log(str(folder)))
    for i in range(threads):
        mine = table.filter(compute.equal(table["name"].cast(pa.string()), f"t{i}"))
        if mine["int"].to_pylist() != list(range(count)):
            raise BenchError(f"thread {i}: records missing or out of order")


def experiments(plan: Plan) -> Iterator[Experiment]:
    """Yield: one call; a thread for a while; threads, checked."""
    title = "One call"
    if plan.wants(title):
        ns = [Figure(name, "ns") for name in ("net", "p50", "p99", "p99.9")]
        yield plan.experiment(
            title,
            "A float under a name. net: the mean of a tight loop, less the empty loop; p50 and so "
            "on: call by call, with the clock's own time.",
            ns,
            _callers(plan.quick),
            (1, 7),
            base="empty C call",
            timeout_s=120.0,
        )
    title = "Sustained"
    if plan.wants(title):
        yield plan.experiment(
            title,
            "Records of one thread without pause, and of two that share the interpreter. waits: "
            "calls in a million that met a full ring.",
            [
                Figure("rate", "M records/s", lower=False),
                Figure("waits", "in a million"),
                Figure("disk", "bytes a record"),
            ],
            [
                Peer("flor, 1 thread", sustained, given={"threads": 1}, ours=True),
                Peer("flor, 2 threads", sustained, given={"threads": 2}, ours=True),
            ],
            (1, 3),
            base="flor, 1 thread",
            seconds=0.3 if plan.quick else 20.0,
        )
    title = "Read back"
    if plan.wants(title):
        yield plan.experiment(
            title,
            "Records of each thread, read back: none lost, each thread's in order.",
            [Figure("log", "s"), Figure("read", "s")],
            [
                Peer("flor, 1 thread", kept_in_order, given={"threads": 1}, ours=True),
                Peer("flor, 2 threads", kept_in_order, given={"threads": 2}, ours=True),
            ],
            (1, 3),
            base="flor, 1 thread",
            count=20_000 if plan.quick else 1_000_000,
        )


def _callers(quick: bool) -> list[Peer]:
    def subject(name: str, open_log: Open, slower: int = 1, **needs: Any) -> Peer:
        count, single = (20_000, 5_000) if quick else (1_000_000, 200_000)
        given = {
            "open_log": open_log,
            "count": max(50, count // slower),
            "single": max(50, single // slower),
        }
        return Peer(name, cost, given=given, **needs)

    return [
        subject("empty C call", empty),
        subject("flor.log", flor_log, ours=True),
        subject("list.append", appended),
        *(
            subject(one.name, one.open_log, one.slower, module=one.module, package=one.package)
            for one in log_peers.PEERS
        ),
    ]
