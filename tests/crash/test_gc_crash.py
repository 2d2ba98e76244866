"""Runs write, readers read, collections are killed: nothing that a log or a manifest names is lost.

FLOR_CRASH_COUNT says how often a collection is killed (default 6; the full check sets 200).
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from flor import _core
from flor.errors import FlorError
from flor.layout import StoreLayout
from flor.runlock import hold_run
from flor.upkeep.check import check
from flor.upkeep.collect import collect
from flor.upkeep.keep import Keep
from flor.upkeep.references import references

COUNT = int(os.environ.get("FLOR_CRASH_COUNT", "6"))
BYTES_REF = 5 | 0x80


def content(number):
    """One of a few: writers meet each other's chunks, and chunks that are just being collected."""
    return np.random.default_rng(number).bytes(65536) + bytes([number]) * 200_000


def write(root, seed):
    """Puts and names, takes checkpoints and drops them, over and over, in short runs."""
    rng = random.Random(seed)
    layout = StoreLayout.open(root)
    while True:
        run = layout.new_run_id()
        layout.log_dir(run).mkdir()
        layout.checkpoint_dir(run).mkdir()
        hold = hold_run(layout.run_dir(run))
        layout.write_run(run, {"format": 1, "run": run, "status": "running", "pid": os.getpid()})
        log = _core.LogWriter(str(layout.log_dir(run)), "r0-1-0")
        store = _core.ChunkStore(str(layout.root))
        taker = _core.Snapshotter(store, staging_bytes=4 << 20)
        for number in range(rng.randrange(1, 12)):
            ref = store.put(content(rng.randrange(12)))
            time.sleep(rng.random() * 0.02)  # put, and not yet named
            log.log_encoded("blob", BYTES_REF, ref)
            regions = [content(rng.randrange(12)), rng.randbytes(100_000)]
            path = layout.checkpoint_dir(run) / f"{number}.ckpt"
            taker.take(regions, str(path), b"{}").wait()
            if number % 3:
                path.unlink()
        taker.close()
        store.close()
        log.close()
        print("run", flush=True)
        if hold is not None:
            os.close(hold)


def collect_for_ever(root):
    print("start", flush=True)
    layout = StoreLayout.open(root)
    while True:
        collect(layout, layout.run_ids(), Keep(last=1), small=random.random() < 0.5)
        print("collected", flush=True)


def read_for_ever(root):
    """Reads what is named, with a store that it opened long ago; prints what it could not read."""
    layout = StoreLayout.open(root)
    store = _core.ChunkStore(str(layout.root), readonly=True)
    print("start", flush=True)
    while True:
        for owner, refs in references(layout, store):
            for ref in refs:
                try:
                    store.get(ref)
                except FlorError as error:
                    if owner.path.exists() and owner.kind != "checkpoint":
                        print("lost", owner, error, flush=True)


def start(*words):
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, words)], stdout=subprocess.PIPE, text=True
    )


def kill(process):
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate(timeout=60)
    return output


def test_collections_beside_writers_and_readers_lose_nothing(tmp_path):
    root = tmp_path / "store"
    StoreLayout.open(root, create=True)
    others = [start("write", root, seed) for seed in (1, 2)]
    with contextlib.ExitStack() as ended:
        for process in others:
            ended.callback(kill, process)
            assert process.stdout.readline() == "run\n"
        reader = start("read", root)
        collected = 0
        for number in range(COUNT):
            collector = start("collect", root)
            assert collector.stdout.readline() == "start\n"
            if number % 2:  # let one finish
                assert collector.stdout.readline() == "collected\n"
            time.sleep(random.random() * 0.3)
            collected += kill(collector).count("collected")
        assert "lost" not in kill(reader)
        assert all(process.poll() is None for process in others)
    layout = StoreLayout.open(root)
    found = check(layout)
    assert found.damages == []
    before = sum(path.stat().st_size for path in root.glob("packs/*"))
    done = collect(layout, layout.run_ids(), Keep(last=1))
    assert check(layout).damages == []
    left = sum(path.stat().st_size for path in root.glob("packs/*"))
    assert before - left == done.freed_bytes and not done.count("in use")
    assert Path(root, "packs.lock").exists()


if __name__ == "__main__":
    verb, *rest = sys.argv[1:]
    if verb == "write":
        write(rest[0], int(rest[1]))
    {"collect": collect_for_ever, "read": read_for_ever}[verb](rest[0])
