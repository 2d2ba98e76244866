"""kill -9 at random instants: a checkpoint is whole or absent; one that was waited for is there.

FLOR_CRASH_COUNT says how often (25; the full check sets 200 and more).
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flor import _core

COUNT = int(os.environ.get("FLOR_CRASH_COUNT", "25"))
REGIONS = 6


def state(step):
    """Regions of many lengths; some change with the step, some never do, some compress."""
    rng = np.random.default_rng(step)
    fixed = np.random.default_rng(12345)
    return [
        rng.bytes(700_001),
        fixed.bytes(1_000_000),
        np.full(150_000, step, dtype="i8").tobytes(),
        b"",
        rng.bytes(17),
        step.to_bytes(8, "little"),
    ]


def child(root):
    """Checkpoint for ever; print a step when it was waited for, and the ref of each put."""
    store = _core.ChunkStore(root)
    snapshotter = _core.Snapshotter(store, staging_bytes=4 << 20, threads=2)
    step = int(time.time() * 1000)
    print("start", flush=True)
    while True:
        step += 1
        pending = snapshotter.take(
            state(step), f"{root}/checkpoints/{step}.ckpt", str(step).encode()
        )
        print("put", store.put(step.to_bytes(8, "little") * 100).hex(), step, flush=True)
        if step % 2:
            pending.wait()
            print("durable", step, flush=True)


def run_and_kill(root, delay, after="start"):
    """Kill the child `delay` seconds after its first line that begins with `after`."""
    process = subprocess.Popen(
        [sys.executable, __file__, root], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    first = []
    while not (first and first[-1].startswith(after)):
        first.append(process.stdout.readline())
        assert first[-1], process.stderr.read()
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    output, problems = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, problems
    lines = first + output.splitlines(keepends=True)
    return [line.split() for line in lines if line.endswith("\n")]


def check(root, lines):
    store = _core.ChunkStore(root, readonly=True)
    present = set()
    for path in Path(root, "checkpoints").glob("*.ckpt"):
        reader = _core.CheckpointReader(store, str(path))
        step = int(path.stem)
        assert reader.meta == path.stem.encode()
        assert [bytes(reader.read(i)) for i in range(REGIONS)] == state(step)
        assert reader.verify() == []
        present.add(step)
    for line in lines:
        if line[0] == "durable":
            assert int(line[1]) in present, "a checkpoint that was waited for is gone"
        elif line[0] == "put":
            assert store.get(bytes.fromhex(line[1])) == int(line[2]).to_bytes(8, "little") * 100
    assert store.verify() == []
    store.close()
    return present


def test_checkpoints_are_whole_or_absent(tmp_path):
    root = str(tmp_path)
    random.seed(time.time_ns())
    total = 0
    for _ in range(COUNT):
        lines = run_and_kill(root, random.uniform(0, 0.25))
        total += len(check(root, lines))
        for path in tmp_path.glob("checkpoints/*"):
            path.unlink()
    assert total > 0


@pytest.mark.parametrize("cut", [1, 40, 100, 5000, 300_000])
def test_a_pack_cut_after_a_crash_costs_only_its_tail(tmp_path, cut):
    """As after a power loss: the last bytes of an unsealed pack never reached the disk."""
    root = str(tmp_path)
    lines = run_and_kill(root, 0.1, after="durable")
    check(root, lines)
    pack = max((tmp_path / "packs").iterdir(), key=lambda path: path.stat().st_size)
    size = pack.stat().st_size
    if size <= cut:
        pytest.skip("the process was killed before it wrote that much")
    os.truncate(pack, size - cut)
    store = _core.ChunkStore(root)
    assert store.verify() == []  # what is left of it is whole
    again = store.put(b"".join(state(1)))
    assert store.get(again) == b"".join(state(1))
    store.close()


if __name__ == "__main__":
    child(sys.argv[1])
