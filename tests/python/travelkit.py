"""A program that is killed, resumed, opened and forked, and what its runs left."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from oracle import answers, environment, flor, logs

from flor._core import ChunkStore
from flor.capture.checkpoint_file import CheckpointFile

PROGRAM = """\
import glob, os, random, signal, sys, time
import flor, numpy as np
import helper

rng = np.random.default_rng(int(sys.argv[1]))
rate = flor.arg("rate", 0.5)
weights, history = np.zeros(300), []
first = len(open("log.csv").readlines()) if os.path.exists("log.csv") else 0  # resumes itself


class Descent:
    def __init__(self):
        self.param_groups = [{"params": weights, "momentum": 0.9}]


def train(optimizer):
    for number, epoch in enumerate(flor.loop("epoch", range(first, 9))):
        for step in flor.loop("step", range(4)):
            weights[:] = weights * optimizer.param_groups[0]["momentum"] + rate * rng.random(300)
            flor.log("norm", helper.norm(weights))
            if os.environ.get("KILL") == f"{number},{step}":
                die()
        history.append(random.random())
        print("epoch", epoch, history[-1])
        with open("log.csv", "a") as file:
            file.write(f"{epoch},{history[-1]}\\n")


def die():
    while len(glob.glob(os.environ["FLOR_STORE"] + "/runs/*/checkpoints/*.ckpt")) < 4:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


random.seed(3)
with flor.checkpointing(weights=weights):
    train(Descent())
for epoch in flor.loop("epoch", range(2)):
    flor.log("end", sum(history) + epoch)
open("final.txt", "w").write(repr(weights.tolist()))
sys.exit(3)
"""
HELPER = "def norm(values):\n    return float((values**2).sum())\n"


def write_program(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(PROGRAM)
    (folder / "helper.py").write_text(HELPER)


def record(folder: Path, kill: str = "") -> None:
    command = [sys.executable, "-m", "flor", "record", "--overhead", "inf", "train.py", "5"]
    env = environment(folder / ".flor", KILL=kill)
    done = subprocess.run(
        command, check=False, cwd=folder, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == (-signal.SIGKILL if kill else 3), done.stderr


def copy(folder: Path, target: Path) -> Path:
    """Another folder with the same run in it, recorded as if there."""
    shutil.copytree(folder, target)
    meta = meta_of(target)
    moved = {"cwd": str(target), "script": str(target / "train.py")}
    run_file(target).write_text(json.dumps(meta | moved))
    return target


def run_file(folder: Path) -> Path:
    return sorted(folder.glob(".flor/runs/*/run.json"))[0]


def meta_of(folder: Path, run: str = "") -> dict:
    path = folder / ".flor" / "runs" / run / "run.json" if run else run_file(folder)
    return json.loads(path.read_text())


def seen(folder: Path, run: str = "latest") -> tuple[dict, dict[str, str]]:
    values = answers(logs(folder / ".flor", folder, run), "", own=False)
    lines = [r["value"] for r in logs(folder / ".flor", folder, run) if r["name"] == "stdout"]
    files = {p.name: p.read_text() for p in folder.iterdir() if p.suffix in (".csv", ".txt")}
    return values | {"stdout": lines}, files


def resume(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return flor("resume", *words, cwd=folder, store=folder / ".flor")


def boundaries(folder: Path) -> dict[Path, tuple[str, list]]:
    """The checkpoints of the run in a folder: kind of boundary and context."""
    store = ChunkStore(str(folder / ".flor"), readonly=True)
    paths = run_file(folder).parent.glob("checkpoints/*.ckpt")
    metas = {path: CheckpointFile(store, path).meta for path in paths}
    store.close()
    return {path: (meta["boundary"], meta["context"]) for path, meta in metas.items()}


def keep(folder: Path, *kinds: str) -> None:
    for path, (kind, _) in boundaries(folder).items():
        if kind not in kinds:
            path.unlink()
