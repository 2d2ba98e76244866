"""``flor resume``: a killed run becomes, bit for bit, the one that nobody killed."""

from __future__ import annotations

import json
import os
import signal

import pytest
from oracle import expect, flor, logs
from travelkit import (
    PROGRAM,
    boundaries,
    copy,
    keep,
    meta_of,
    record,
    resume,
    run_file,
    seen,
    write_program,
)


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
