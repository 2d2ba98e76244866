"""`flor resume`, `flor fork`, `flor shell`: a recorded state goes on as it did, by real commands.

The program kills itself at a place given by KILL; the oracle is the same program left alone.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from oracle import environment, expect, flor, logs
from travelkit import PROGRAM, copy, keep, meta_of, record, resume, seen, write_program


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nobody killed, in its folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    write_program(folder)
    record(folder)
    return folder


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """The run killed in its seventh epoch."""
    folder = tmp_path_factory.mktemp("cut") / "run"
    write_program(folder)
    record(folder, "6,2")
    return folder


# -- shell -----------------------------------------------------------------------------------------


def shell(folder: Path, statements: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flor", "shell", *words],
        check=False,
        cwd=folder,
        env=environment(folder / ".flor"),
        input=statements,
        capture_output=True,
        text=True,
        timeout=120,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def norms(folder: Path) -> dict[int, float]:
    rows = [row for row in logs(folder / ".flor", folder) if row["name"] == "norm"]
    return {row["context"][0][1]: row["value"] for row in rows}


LOOK = """\
helper.norm(weights)
epoch, number, len(history)
for line in open("log.csv"):
    last = line

int(last.split(",")[0])
rate
"""


@pytest.mark.parametrize("dense", [True, False])
def test_the_live_objects_of_an_iteration(whole, tmp_path, dense):
    folder = copy(whole, tmp_path / "run")
    if not dense:
        keep(folder, "entry", "block")
    before = content(folder)
    done = shell(folder, LOOK, "latest", "--at", "epoch=4")
    assert done.stdout.splitlines() == [repr(norms(whole)[4]), "(4, 4, 5)", "4", "0.5"], done.stderr
    assert done.returncode == 0
    assert ("executing 5 iterations again" in done.stderr) == (not dense)
    assert content(folder) == before, "looking has changed something"


def test_statements_that_fail(whole):
    before = content(whole)
    done = shell(whole, "1/0\n1 +\nopen('/" + str(whole / "x") + "', 'w')\nprint(epoch)\n")
    assert done.returncode == 1 and done.stdout == "8\n"
    for error in ("ZeroDivisionError", "SyntaxError", "PermissionError"):
        assert error in done.stderr
    assert ">>>" not in done.stdout + done.stderr
    assert shell(whole, "import sys; sys.exit(7)").returncode == 7
    assert content(whole) == before


@pytest.mark.parametrize(
    ("at", "told"),
    [
        ("epoch=9", "0..8"),
        ("step=1", "--at epoch=N"),
        ("epoch=1,step=2", "--at epoch=N"),
        ("x", ""),
    ],
)
def test_places_that_are_not_there(whole, at, told):
    done = fork(whole, "--at", at)
    assert done.returncode == 2 and told in done.stderr
    assert len(list(whole.glob(".flor/runs/*"))) == 1, "a fork that failed has left a run"


# -- fork ------------------------------------------------------------------------------------------


def fork(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return flor("fork", *words, cwd=folder, store=folder / ".flor")


def after(rows: list, epoch: int) -> list:
    return [
        (row["context"], row["name"], row["value"])
        for row in rows
        if not row["context"] or "#" in row["context"][0][0] or row["context"][0][1] > epoch
    ]


@pytest.mark.parametrize("dense", [True, False])
def test_a_fork_without_changes_is_the_continuation(whole, tmp_path, dense):
    folder = copy(whole, tmp_path / "run")
    if not dense:
        keep(folder, "entry")
    parent = meta_of(folder)["run"]
    before = [(p.name, p.read_bytes()) for p in sorted(folder.iterdir()) if p.is_file()]
    done = fork(folder, "--at", "epoch=4")
    assert done.returncode == 3, done.stderr
    rows = logs(folder / ".flor", folder)
    assert rows[0]["run"] != parent
    assert after(rows, -1) == after(logs(folder / ".flor", folder, parent), 4)
    assert [(p.name, p.read_bytes()) for p in sorted(folder.iterdir()) if p.is_file()] == before
    made = folder / ".flor" / "runs" / rows[0]["run"] / "folder"
    for name in ("log.csv", "final.txt"):
        assert (made / name).read_text() == (folder / name).read_text()
    told = flor("runs", "--format", "jsonl", cwd=folder, store=folder / ".flor").stdout
    assert [json.loads(line)["parent"] for line in told.splitlines()] == [None, parent]


def test_a_fork_with_changes(whole, tmp_path):
    folder = copy(whole, tmp_path / "run")
    done = fork(folder, "--at", "epoch=6", "--set", "rate=0.25", "--set", "momentum=0.5")
    assert done.returncode == 3, done.stderr
    for line in (
        "flor.arg rate: 0.5 becomes 0.25",
        "rate in __main__: 0.5 becomes 0.25",
        "Descent group 0, momentum: 0.9 becomes 0.5",
    ):
        assert line in done.stderr
    run = logs(folder / ".flor", folder)[0]["run"]
    meta = meta_of(folder, run)
    assert meta["args"] == {"rate": 0.25} and meta["fork"]["context"] == [["epoch", 6]]
    rows = {
        tuple(map(tuple, r["context"])): r["value"]
        for r in logs(folder / ".flor", folder)
        if r["name"] == "norm"
    }
    step = "weights[:] = weights * 0.5 + 0.25 * rng.random(300)\nhelper.norm(weights)\n"
    looked = shell(folder, step, meta["parent"], "--at", "epoch=6")
    assert float(looked.stdout) == rows[(("epoch", 7), ("step", 0))]


def test_a_fork_can_be_replayed_and_resumed(whole, tmp_path):
    folder = copy(whole, tmp_path / "run")
    killed = flor(
        "fork",
        "--at",
        "epoch=4",
        "--set",
        "rate=0.25",
        cwd=folder,
        store=folder / ".flor",
        KILL="7,1",
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    expect(3, resume(folder))
    rows = logs(folder / ".flor", folder)
    expect(3, fork(folder, meta_of(folder)["run"], "--at", "epoch=4", "--set", "rate=0.25"))
    assert after(rows, -1) == after(logs(folder / ".flor", folder), -1)
    asked = PROGRAM.replace(
        "        history.append", '        flor.log("w", weights[0])\n        history.append'
    )
    (folder / "asked.py").write_text(asked)
    done = flor("replay", "latest", "--script", "asked.py", cwd=folder, store=folder / ".flor")
    assert expect(0, done).stdout.startswith("verified")
    assert "6 × epoch" in done.stdout  # four of its own, two of the loop after it


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("rat=1", "it has rate"),
        ("momentum=[1]", "a float"),
        ("rate", "K=V"),
    ],
)
def test_settings_that_match_nothing(whole, setting, told):
    done = fork(whole, "--at", "epoch=4", "--set", setting)
    assert done.returncode == 2 and told in done.stderr
    assert len(list(whole.glob(".flor/runs/*"))) == 1


# -- programs that do not know flor ----------------------------------------------------------------

UNKNOWING = """\
import glob, os, time, warnings
import numpy as np
from sgd import SGD

weights = np.zeros(40)
optimizer = SGD(weights, lr=0.5)


def main():
    epoch = 0
    while epoch < 12:
        for batch in range(5):
            optimizer.step(np.random.rand(40))
            time.sleep(0.001)
        print(epoch, weights.sum())
        warnings.warn("shown once")
        with open("log.csv", "a") as file:
            file.write(f"{weights[0]}\\n")
        if os.environ.get("KILL") == str(epoch):
            while len(glob.glob(os.environ["FLOR_STORE"] + "/runs/*/checkpoints/*.ckpt")) < 4:
                time.sleep(0.01)
            os.kill(os.getpid(), 9)
        epoch += 1
    print("end", optimizer.steps)
    raise SystemExit(3)


np.random.seed(4)
main()
"""
SGD = """\
class SGD:
    def __init__(self, weights, lr):
        self.weights, self.steps = weights, 0
        self.param_groups = [{"params": [weights], "lr": lr}]

    def step(self, gradient):
        self.steps += 1
        self.weights -= self.param_groups[0]["lr"] * gradient
"""


def test_an_unmodified_program(tmp_path):
    """Resumed, looked into, forked and replayed like any other."""
    for name, kill in (("whole", ""), ("cut", "9")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train.py").write_text(UNKNOWING)
        (folder / "sgd.py").write_text(SGD)
        record(folder, kill)
    done = expect(3, resume(folder))
    assert "from the end of" in done.stderr, "it began again: no checkpoint was used"
    assert seen(folder) == seen(tmp_path / "whole")
    assert expect(0, flor("replay", cwd=folder, store=folder / ".flor")).stdout.startswith(
        "verified"
    )
    (loop,) = {row["context"][0][0] for row in logs(folder / ".flor", folder) if row["context"]}
    looked = shell(folder, "epoch, optimizer.steps\n", "--at", f"{loop}=6")
    assert looked.stdout == "(7, 35)\n", looked.stderr
    run = meta_of(folder)["run"]
    for words in ((), ("--set", "lr=0.25")):
        done = expect(3, fork(folder, run, "--at", f"{loop}=6", *words))
        rows, parent = logs(folder / ".flor", folder), logs(folder / ".flor", folder, run)
        assert (after(rows, -1) == after(parent, 6)) == (not words)
    assert "SGD group 0, lr: 0.5 becomes 0.25" in done.stderr
    asked = UNKNOWING.replace(
        "        print(epoch", "        print(weights.max())\n        print(epoch"
    )
    (folder / "asked.py").write_text(asked)
    done = flor("replay", "latest", "--script", "asked.py", cwd=folder, store=folder / ".flor")
    assert expect(0, done).stdout.startswith("verified")
