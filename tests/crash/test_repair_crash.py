"""A repair that is killed at any instant is done again from the start; nothing whole is lost.

FLOR_CRASH_COUNT says how often (default 5; the full check sets 200).
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from flor import _core
from flor.layout import StoreLayout
from flor.upkeep.check import check
from flor.upkeep.repair import repair

COUNT = int(os.environ.get("FLOR_CRASH_COUNT", "5"))
CHECKPOINTS, BYTES = 8, 400_000


def state(number):
    return np.random.default_rng(number).bytes(BYTES)


def make(root):
    """Two packs of checkpoints; one chunk of checkpoint 3 is damaged."""
    layout = StoreLayout.open(root, create=True)
    run = layout.new_run_id()
    layout.write_run(run, {"format": 1, "run": run, "status": "completed"})
    layout.checkpoint_dir(run).mkdir()
    for first in (0, CHECKPOINTS // 2):
        store = _core.ChunkStore(str(root))
        taker = _core.Snapshotter(store)
        for number in range(first, first + CHECKPOINTS // 2):
            path = layout.checkpoint_dir(run) / f"{number}.ckpt"
            taker.take([state(number)], str(path), b"{}").wait()
        taker.close()
        store.close()
    for pack in root.glob("packs/*.pack"):
        content = bytearray(pack.read_bytes())
        at = content.find(state(3)[100_000:100_100])
        if at >= 0:
            content[at] ^= 1
            pack.write_bytes(content)
    return layout


def whole_checkpoints(layout):
    store = _core.ChunkStore(str(layout.root), readonly=True)
    found = set()
    for path in layout.checkpoint_paths(layout.run_ids()[0]):
        reader = _core.CheckpointReader(store, str(path))
        if not reader.verify():
            assert bytes(reader.read(0)) == state(int(path.stem))
            found.add(int(path.stem))
    store.close()
    return found


def mend(root):
    layout = StoreLayout.open(root)
    found = check(layout)
    print("start", flush=True)
    repair(layout, found)


def test_a_killed_repair_loses_nothing(tmp_path):
    for number in range(COUNT):
        layout = make(tmp_path / str(number))
        words = [sys.executable, __file__, str(layout.root)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "start\n"
        time.sleep(random.random() * 0.03)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        rest = set(range(CHECKPOINTS)) - {3}
        assert whole_checkpoints(layout) == rest
        repair(layout, check(layout))
        assert check(layout).damages == []
        assert whole_checkpoints(layout) == rest
        assert list(Path(layout.root).glob("lost+found/*/packs/*.pack"))


if __name__ == "__main__":
    mend(sys.argv[1])
