"""kill -9 at random instants of a training, then `flor resume`: as if it had never stopped.

What the user can see in the end, every record and every file, has to be that of an uninterrupted
run, bit for bit. FLOR_CRASH_COUNT says how many runs are killed (2; each up to three times).
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COUNT = int(os.environ.get("FLOR_CRASH_COUNT", "2"))
EPOCHS, STEPS = 8, 6
TRAINING = f"""
import random, sys, time
import flor, numpy as np, torch
from torch import nn

torch.set_num_threads(1)
if "--seed" in sys.argv:
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
inputs = torch.tensor(np.random.rand(64, 8), dtype=torch.float32)
targets = inputs.sum(1, keepdim=True) + random.random()
net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
optimizer = torch.optim.AdamW(net.parameters(), lr=flor.arg("lr", 0.01))
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
history, best = [], None
print("training", flush=True)
with flor.checkpointing(net=net, optimizer=optimizer):
    for epoch in flor.loop("epoch", range({EPOCHS})):
        print("epoch", epoch, end=":")
        for rows in flor.loop("step", torch.randperm(64).split(64 // {STEPS} + 1)):
            optimizer.zero_grad()
            loss = (net(inputs[rows]) - targets[rows]).square().mean()
            loss.backward()
            optimizer.step()
            flor.log("loss", loss.item())
            time.sleep(0.004)
        scheduler.step()
        history.append(loss.item() + random.random())
        with open("log.csv", "a") as file:
            file.write(f"{{epoch}},{{history[-1]}}\\n")
        if best is None or history[-1] <= best:
            best = history[-1]
            torch.save(net.state_dict(), "best.pt")
        flor.log("noise", [history[-1], float(np.random.rand())])
        print(" done", scheduler.get_last_lr())
net.load_state_dict(torch.load("best.pt"))
flor.log("weights", {{name: w.tolist() for name, w in net.state_dict().items()}})
"""
UNMODIFIED = re.sub(r"flor.loop\(\"\w+\", (.*)\):", r"\1:", TRAINING)
for old, new in (
    ("import flor, numpy", "import numpy"),
    ('flor.arg("lr", 0.01)', "0.01"),
    ("with flor.checkpointing(net=net, optimizer=optimizer):", "if True:"),
    ("flor.log(", "print("),
):
    UNMODIFIED = UNMODIFIED.replace(old, new)


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOR_")}
    return kept | {"FLOR_STORE": str(folder / ".flor"), "PYTHONDONTWRITEBYTECODE": "1"}


def flor(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flor", *words],
        cwd=folder,
        env=environment(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> str:
    _, problems = process.communicate(timeout=300)
    assert process.returncode == 0, problems
    return problems


def kill(folder: Path, process: subprocess.Popen[str], delay: float) -> bool:
    """Kill the training `delay` seconds after its first line; return whether that was in time.

    A run is complete before its process has ended: what is left is Python's own end.
    """
    assert process.stdout and process.stderr
    if not process.stdout.readline():
        raise AssertionError(process.stderr.read())
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    (run,) = (folder / ".flor" / "runs").iterdir()
    return json.loads((run / "run.json").read_text())["status"] == "running"


def record(folder: Path, arguments: list[str], program: str = TRAINING) -> subprocess.Popen[str]:
    folder.mkdir()
    (folder / "train.py").write_text(program)
    return flor(folder, "record", "--overhead", "0.5", "train.py", *arguments)


def seen(folder: Path) -> tuple[list[str], dict[str, str]]:
    """What a user sees of the run: its records in order, its files."""
    process = flor(folder, "logs", "--format", "jsonl")
    output, problems = process.communicate(timeout=60)
    assert process.returncode == 0, problems
    rows = [json.loads(line) for line in output.splitlines()]
    records = [json.dumps([row["context"], row["name"], row["value"]]) for row in rows]
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.is_file()
    }
    return records, files


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    finish(record(folder, ["--seed"]))
    return seen(folder)


@pytest.mark.parametrize("number", range(COUNT))
def test_a_killed_training_goes_on_as_if_it_had_not_been(tmp_path, uninterrupted, number):
    random.seed(time.time_ns())
    folder = tmp_path / "run"
    killed = kill(folder, record(folder, ["--seed"]), random.uniform(0, 0.3))
    for _ in range(2):
        if killed and random.random() < 0.7:
            killed = kill(folder, flor(folder, "resume"), random.uniform(0, 0.2))
    if killed:
        finish(flor(folder, "resume"))
    records, files = seen(folder)
    assert records == uninterrupted[0]
    assert files == uninterrupted[1]


def test_a_killed_training_without_a_seed_goes_on_as_the_run_that_it_was(tmp_path):
    """A program without flor in it. The oracle: the same run, resumed from its very start."""
    assert "flor" not in UNMODIFIED
    random.seed(time.time_ns())
    folder, again = tmp_path / "run", tmp_path / "again"
    assert kill(folder, record(folder, [], UNMODIFIED), random.uniform(0.03, 0.15))
    shutil.copytree(folder, again)
    (run,) = (again / ".flor" / "runs").iterdir()
    meta = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(
        json.dumps(meta | {"cwd": str(again), "script": str(again / "train.py")})
    )
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    finish(flor(folder, "resume"))
    finish(flor(again, "resume"))
    assert seen(folder) == seen(again)
