"""What one log call costs its caller, beside other ways to keep a number, in one run.

    python -m benchmarks.log_call [--quick] [--output FOLDER]

Two measurements of each subject. `net`: the mean of a tight loop minus the same loop without the
call. `p50`, `p99`, `p99.9`: each call timed by itself, which includes about two clock reads (the
row "nothing"). The tight loop outruns the background thread, so it includes the waits for a full
ring; `waits` counts them.

Unfair: `list.append` keeps the value in memory only, and `logging` formats a line and hands it to
the system at each call; both lose or keep other things at a kill than flor, whose record is kept
from the return of the call on. TensorBoard (when installed) queues an event to its own thread and
loses the queue.
"""

from __future__ import annotations

import contextlib
import logging
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Report, Subject, compare, interleave, quantile, run_report
from flor import _core


def tight(call: Callable[[str, float], Any], count: int) -> float:
    """Nanoseconds a call in a loop, the empty loop taken off."""
    numbers = range(count)
    begin = time.perf_counter_ns()
    for _ in numbers:
        pass
    empty = time.perf_counter_ns() - begin
    begin = time.perf_counter_ns()
    for _ in numbers:
        call("loss", 0.5)
    return (time.perf_counter_ns() - begin - empty) / count


def one_by_one(call: Callable[[str, float], Any], count: int) -> list[int]:
    """Nanoseconds of each call, sorted; paced as a training is, not back to back."""
    clock = time.perf_counter_ns
    times = []
    for _ in range(count):
        begin = clock()
        call("loss", 0.5)
        times.append(clock() - begin)
    return sorted(times)


def figures(call: Callable[[str, float], Any], loop: int, single: int) -> dict[str, float]:
    net = tight(call, loop)
    times = one_by_one(call, single)
    return {
        "net": net,
        "p50": quantile(times, 0.5),
        "p99": quantile(times, 0.99),
        "p99.9": quantile(times, 0.999),
    }


@contextlib.contextmanager
def temporary_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="flor-bench-")
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def flor(count: int, single: int) -> Mapping[str, float]:
    with temporary_folder() as folder:
        writer = _core.LogWriter(folder, "w")
        _core.set_active(writer)
        out = figures(_core.log, count, single)
        stats = writer.stats()
        assert stats["lost"] == 0 and stats["records"] == count + single
        _core.set_active(None)
        writer.close()
        return out | {"waits": stats["waits"]}


def flor_in_loop(count: int, single: int) -> Mapping[str, float]:
    """A log call and the step of its loop: each record has an iteration of its own."""
    with temporary_folder() as folder:
        writer = _core.LogWriter(folder, "w")
        _core.set_active(writer)
        token, log, step, i = _core.context_enter("step"), _core.log, _core.context_step, 0

        def call(name: str, value: float) -> None:
            nonlocal i
            step(token, i)
            i += 1
            log(name, value)

        out = figures(call, count, single)
        _core.context_leave(token)
        _core.set_active(None)
        writer.close()
        return out


def nothing(count: int, single: int) -> Mapping[str, float]:
    return figures(lambda name, value: None, count, single)


def appended(count: int, single: int) -> Mapping[str, float]:
    kept: list[tuple[str, float, float]] = []
    append, clock = kept.append, time.time
    return figures(lambda name, value: append((name, value, clock())), count, single)


def logged(count: int, single: int) -> Mapping[str, float]:
    with temporary_folder() as folder:
        handler = logging.FileHandler(f"{folder}/log.txt")
        logger = logging.Logger("bench")
        logger.addHandler(handler)
        out = figures(
            lambda name, value: logger.info("%s %r", name, value), count // 20, single // 20
        )
        handler.close()
        return out


def tensorboard(count: int, single: int) -> Mapping[str, float]:
    from torch.utils.tensorboard import SummaryWriter

    with temporary_folder() as folder:
        writer = SummaryWriter(folder)
        out = figures(writer.add_scalar, count // 100, single // 20)
        writer.close()
        return out


def has_tensorboard() -> bool:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        return False
    return True


def million() -> dict[str, float]:
    """A million records: seconds to log, to close and to read, and what they take."""
    with temporary_folder() as folder:
        writer = _core.LogWriter(folder, "w")
        _core.set_active(writer)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begin = time.perf_counter()
        for i in range(1_000_000):
            _core.log("loss", i * 0.001)
        logged_at = time.perf_counter()
        _core.set_active(None)
        writer.close()
        closed = time.perf_counter()
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert len(_core.read_log(folder)) == 1_000_000
        read = time.perf_counter()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
    return {
        "log s": round(logged_at - begin, 3),
        "close s": round(closed - logged_at, 4),
        "read s": round(read - closed, 3),
        "disk MB": round(size / 1e6, 2),
        "peak memory grew by MB": round(grown / 1024, 1),
    }


def measure(quick: bool) -> Report:
    count, single, rounds = (100_000, 20_000, 3) if quick else (1_000_000, 200_000, 7)
    chosen = {"nothing": nothing, "flor": flor, "flor, step and log": flor_in_loop}
    chosen |= {"list.append": appended, "logging to a file": logged}
    if has_tensorboard():
        chosen["TensorBoard"] = tensorboard
    subjects = [Subject(name, partial(run, count, single)) for name, run in chosen.items()]
    report = Report("log_call", "What does one log call cost its caller, in ns?")
    once = million()
    samples = interleave(subjects, rounds)
    for figure in ("net", "p50", "p99", "p99.9"):
        report.add(f"{figure}, ns", compare(samples, figure))
    report.add("A million records of flor", [once])
    waits = sorted(one["waits"] for one in samples["flor"])
    report.notes.append(f"calls that waited for a full ring, of {count + single} a round: {waits}")
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
