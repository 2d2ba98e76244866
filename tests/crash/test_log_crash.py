"""kill -9 at random instants: a record whose call returned is read, and nothing else is.

FLOR_CRASH_COUNT says how often (25; the full check sets 200 and more).
"""

import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time

import pyarrow as pa
import pytest

from flor import _core

COUNT = int(os.environ.get("FLOR_CRASH_COUNT", "25"))
THREADS = 2


def script(thread):
    """What a thread does, for ever: nested loops, a loop twice in an iteration, all types."""
    i = 0
    yield "enter", "epoch"
    for epoch in range(1_000_000):
        yield "step", epoch, f'{{"epoch":{epoch}}}'
        for _ in range(2):
            yield "enter", "eval"
            for step in range(20):
                yield "step", step, None
                for value in (i * 0.5, i, i % 2 == 0, None, "é" * (i % 150), b"\0b" * (i % 99)):
                    yield "log", f"name{i % 5}-{thread}", value
                    i += 1
            yield ("leave",)
        yield "json", "summary", f"[{i}]"
        i += 1


def expected(thread, count):
    """The first `count` records of a thread: (path, name, value)."""
    stack = []  # [loop, index, value, counts of child loops]
    out = []
    for op, *args in script(thread):
        if len(out) == count:
            return out
        if op == "enter":
            counts = stack[-1][3] if stack else {}
            counts[args[0]] = counts.get(args[0], 0) + 1
            suffix = f"#{counts[args[0]]}" if counts[args[0]] > 1 else ""
            stack.append([args[0] + suffix, None, None, {}])
        elif op == "step":
            stack[-1][1:] = [args[0], args[1], {}]
        elif op == "leave":
            stack.pop()
        else:
            out.append(([tuple(e[:3]) for e in stack if e[1] is not None], *args))
    raise AssertionError


def perform(thread, progress, flush_every, writer):
    """Runs the script; `progress` counts returned calls in memory that outlives the process."""
    stack = []
    done = 0
    for op, *args in script(thread):
        if op == "enter":
            stack.append(_core.context_enter(args[0]))
        elif op == "step":
            _core.context_step(stack[-1], *args)
        elif op == "leave":
            _core.context_leave(stack.pop())
        else:
            if op == "json":
                _core.log_encoded(args[0], 6, args[1])
            else:
                _core.log(args[0], args[1])
            done += 1
            progress[thread] = done
            if flush_every and done % flush_every == 0:
                writer.flush()


def child(folder, ring_bytes, flush_every):
    with open(f"{folder}/progress", "r+b") as file:
        shared = mmap.mmap(file.fileno(), 8 * THREADS)
    # One aligned store each: struct.pack_into clears the bytes first, and a kill may fall between.
    progress = memoryview(shared).cast("q")
    writer = _core.LogWriter(
        f"{folder}/log", "w", ring_bytes=int(ring_bytes), segment_bytes=1 << 18
    )
    _core.set_active(writer)
    _core.set_slow_path(lambda name, value: os.abort())
    sys.setswitchinterval(0.0005)
    print("start", flush=True)
    for thread in range(1, THREADS):
        threading.Thread(target=perform, args=(thread, progress, 0, writer)).start()
    perform(0, progress, int(flush_every), writer)


def run_and_kill(folder, ring_bytes, flush_every, delay):
    (folder / "progress").write_bytes(bytes(8 * THREADS))
    process = subprocess.Popen(
        [sys.executable, __file__, str(folder), str(ring_bytes), str(flush_every)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "start\n", process.stderr.read()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    _, problems = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, problems
    return struct.unpack(f"<{THREADS}q", (folder / "progress").read_bytes())


def value_of(row):
    if row["kind"] in (4, 6):
        return row["data"].decode()
    return {0: None, 1: bool(row["int"]), 2: row["int"], 3: row["num"], 5: row["data"]}[row["kind"]]


def as_logged(row):
    path = [(e["loop"], e["index"], e["value"]) for e in row["context"]]
    return path, row["name"], value_of(row)


@pytest.mark.parametrize("seed", range(COUNT))
def test_nothing_returned_is_lost_and_nothing_is_invented(tmp_path, seed):
    rng = random.Random(seed)
    ring_bytes = rng.choice([4096, 1 << 14, 1 << 16, 1 << 20])
    returned = run_and_kill(tmp_path, ring_bytes, rng.choice([0, 0, 97]), rng.random() ** 2 * 0.15)
    log = _core.read_log(str(tmp_path / "log"))
    assert log.dropped_blocks == 0 and log.dropped_records == 0
    rows = pa.record_batch(log).to_pylist()
    rings = {}
    for row in rows:
        rings.setdefault(row["ring"], []).append(row)
    counts = [0] * THREADS
    for records in rings.values():
        # Names end with their thread, but for "summary", which comes after 240 others.
        thread = int(records[0]["name"][-1])
        counts[thread] = len(records)
        assert [r["seq"] for r in records] == list(range(len(records)))
        assert [as_logged(r) for r in records] == expected(thread, len(records))
    for thread in range(THREADS):
        # One call may have written its record and not returned.
        assert returned[thread] <= counts[thread] <= returned[thread] + 1


if __name__ == "__main__":
    child(*sys.argv[1:])
