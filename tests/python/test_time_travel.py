"""`flor resume`, `flor fork`, `flor shell`: a recorded state goes on as it did, by real commands.

The program kills itself at a place given by KILL; the oracle is the same program left alone.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from oracle import answers, environment, expect, flor, logs

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


# -- resume ----------------------------------------------------------------------------------------


def test_a_resumed_run_is_the_run_that_nobody_killed(cut, whole, tmp_path):
    folder = copy(cut, tmp_path / "run")
    (folder / "log.csv").write_text("the user has been here\n")
    done = resume(folder)
    assert done.returncode == 3, done.stderr  # the script's own
    assert "log.csv: put back" in done.stderr
    assert seen(folder) == seen(whole)
    kept = list(folder.glob(".flor/runs/*/put-away/0/log.csv"))
    assert [path.read_text() for path in kept] == ["the user has been here\n"]
    meta = meta_of(folder)
    assert meta["status"] == "failed" and len(meta["resumes"]) == 1
    assert expect(3, resume(folder)).returncode == 3  # a failed one may be resumed again
    assert seen(folder) == seen(whole)


def test_a_resumed_run_can_be_replayed_and_asked(cut, tmp_path):
    folder = copy(cut, tmp_path / "run")
    expect(3, resume(folder))
    asked = PROGRAM.replace(
        "        history.append", '        flor.log("w", weights[0])\n        history.append'
    )
    (folder / "asked.py").write_text(asked)
    for words in ((), ("--workers", "2")):
        done = flor("replay", "--script", "asked.py", *words, cwd=folder, store=folder / ".flor")
        assert expect(0, done).stdout.startswith("verified")
    rows = [r for r in logs(folder / ".flor", folder) if r["origin"] == "replay"]
    assert [row["context"][0][1] for row in rows] == list(range(9))


def test_killed_again_and_again(cut, whole, tmp_path):
    folder = copy(cut, tmp_path / "run")
    for place in ("7,1", "8,3"):
        killed = flor("resume", cwd=folder, store=folder / ".flor", KILL=place)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    expect(3, resume(folder))
    assert seen(folder) == seen(whole)


def test_only_ends_of_blocks_are_left(cut, whole, tmp_path):
    folder = copy(cut, tmp_path / "run")
    keep(folder, "entry", "block")
    done = resume(folder)
    assert ", step" in done.stderr
    assert done.returncode == 3, done.stderr
    assert seen(folder) == seen(whole)


@pytest.mark.parametrize("kinds", [("entry",), ()])
def test_without_a_checkpoint_it_starts_again_from_the_recorded_start(cut, whole, tmp_path, kinds):
    folder = copy(cut, tmp_path / "run")
    keep(folder, *kinds)
    done = resume(folder)
    assert "the start of loop 'epoch'" in done.stderr
    assert done.returncode == 3, done.stderr
    assert seen(folder) == seen(whole)


def test_killed_before_the_main_loop(whole, tmp_path):
    folder = tmp_path / "run"
    write_program(folder)
    text = PROGRAM.replace(
        "random.seed(3)", 'random.seed(3)\nif "KILL" in os.environ: os.kill(os.getpid(), 9)'
    )
    (folder / "train.py").write_text(text)
    record(folder, "now")
    done = resume(folder)
    assert "from the beginning" in done.stderr
    assert done.returncode == 3, done.stderr
    assert seen(folder) == seen(whole)


def test_a_damaged_checkpoint_is_told_and_passed_over(cut, whole, tmp_path):
    folder = copy(cut, tmp_path / "run")
    ends = {p: place for p, (kind, place) in boundaries(folder).items() if kind == "iteration"}
    keep(folder, "entry", "iteration")
    newest = max(ends, key=lambda path: ends[path][0][1])
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 0xFF
    newest.write_bytes(content)
    done = resume(folder)
    assert f"the checkpoint at the end of epoch={ends[newest][0][1]} is damaged" in done.stderr
    assert done.returncode == 3, done.stderr
    assert seen(folder) == seen(whole)


def test_the_recorded_source_goes_on(cut, whole, tmp_path):
    folder = copy(cut, tmp_path / "run")
    (folder / "train.py").write_text(PROGRAM.replace("rng.random", "2 * rng.random"))
    (folder / "helper.py").unlink()
    done = resume(folder)
    assert "the source has changed since (helper.py, train.py): the recorded version" in done.stderr
    assert done.returncode == 3, done.stderr
    assert seen(folder) == seen(whole)
    assert meta_of(folder)["version"] == meta_of(cut)["version"]


def test_keep_files_leaves_them_and_is_not_fooled_by_them(cut, whole, tmp_path):
    """The program sees the rows of the killed run and would begin later: that is noticed."""
    folder = copy(cut, tmp_path / "run")
    before = (folder / "log.csv").read_text()
    done = resume(folder, "--keep-files")
    assert done.returncode == 2 and "can't be resumed" in done.stderr
    assert (folder / "log.csv").read_text() == before
    assert seen(folder)[0] == seen(cut)[0], "a refused resume has changed the run"
    (folder / "log.csv").unlink()
    expect(3, resume(folder, "--keep-files"))
    assert seen(folder)[0] == seen(whole)[0]
    assert seen(folder)[1]["log.csv"] != seen(whole)[1]["log.csv"]


STREAM = """\
import glob, os, time
import flor, numpy as np

weights, total = np.zeros(50), [0.0]


def stream():
    seen = 0.0
    while True:
        seen += GROWS
        yield np.full(50, seen)


with flor.checkpointing(weights=weights):
    for step, item in zip(range(40), flor.loop("step", stream())):
        weights += item
        total[0] += weights.sum()
        flor.log("total", total[0])
        if os.environ.get("KILL") == str(step):
            while len(glob.glob(os.environ["FLOR_STORE"] + "/runs/*/checkpoints/*.ckpt")) < 4:
                time.sleep(0.01)
            os.kill(os.getpid(), 9)
raise SystemExit(3)
"""


@pytest.mark.parametrize(("grows", "whole_again"), [("1", False), ("total[0] + 1", True)])
def test_a_stream_whose_items_may_depend_on_the_loop(tmp_path, grows, whole_again):
    """One iteration is executed and compared; where that is not what it was, all are."""
    shown = []
    for name, kill in (("whole", ""), ("cut", "30")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "train.py").write_text(STREAM.replace("GROWS", grows))
        record(folder, kill)
        if kill:
            done = expect(3, resume(folder))
            assert "may depend on what it does" in done.stderr
            assert ("ends in another state" in done.stderr) == whole_again
        shown.append(seen(folder))
    assert shown[0] == shown[1]


def test_what_can_not_be_resumed(whole, tmp_path):
    folder = copy(whole, tmp_path / "run")
    meta = meta_of(folder)
    for status, told in (("completed", "has completed"), ("running", "is still running")):
        run_file(folder).write_text(json.dumps(meta | {"status": status, "pid": os.getpid()}))
        done = resume(folder)
        assert done.returncode == 2 and told in done.stderr
    assert resume(folder, "no-such").returncode == 2
    run_file(folder).write_text(json.dumps(meta | {"world": 4}))
    assert "4 ranks" in expect(2, resume(folder)).stderr
    run_file(folder).write_text(json.dumps(meta | {"cwd": str(tmp_path / "gone")}))
    assert "gone, is not there" in expect(2, resume(folder)).stderr


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
