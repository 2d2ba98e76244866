"""Runs of several ranks: recorded as one run, replayed with the same ranks, equal to the oracle.

A comment ``# ask(NAME): STATEMENT`` in a program of ``tests/workloads/ranks`` marks where a
statement is added for the replay; the oracle has it from the start.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from oracle import Row, checksums, expect, flor, logs, run

import flor as flor_package

PROGRAMS = Path(__file__).parents[1] / "workloads" / "ranks"
_ASK = re.compile(r"# ask\(\w+\): ")


@dataclass(frozen=True)
class Case:
    """A program and how it is started; the ranks that it has then."""

    program: str
    launcher: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    ranks: tuple[int, ...] = (0, 1)
    states: int = 10  # compared at least, over all ranks

    def write(self, folder: Path, *, asking: bool = False) -> None:
        source = (PROGRAMS / f"{self.program}.py").read_text()
        folder.mkdir(exist_ok=True)
        (folder / "train.py").write_text(_ASK.sub("", source) if asking else source)

    def record(self, folder: Path) -> None:
        words = (*self.launcher, "train.py", "--lr", "0.05", *self.arguments)
        expect(0, flor("record", "--overhead", "inf", *words, cwd=folder, store=folder / ".flor"))

    def __str__(self) -> str:
        return "-".join([self.program, *self.arguments[1:]])


DDP = Case("ddp", ("-m", "torch.distributed.run", "--nproc_per_node", "2"))
# Rank 1 says nothing and leaves nothing.
FORKED = Case("workers", arguments=("--method", "fork"), ranks=(0, 2, 3))
NAMED = Case("named", ranks=(0, 1, 2))
CASES = [DDP, FORKED, NAMED]
if os.environ.get("FLOR_FULL"):
    CASES.append(Case("workers", arguments=("--method", "spawn"), ranks=(0, 2, 3)))
    CASES.append(Case("workers", arguments=("--method", "forkserver"), ranks=(0, 2, 3)))
    CASES.append(Case("torch_spawn", ranks=(0, 1, 2)))
if os.environ.get("FLOR_LIBRARIES") and importlib.util.find_spec("accelerate"):
    launch = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2")
    CASES.append(Case("accelerated", launch))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory):
    @cache
    def get(case: Case, asking: bool = False) -> Path:
        folder = tmp_path_factory.mktemp("ranks") / "work"
        case.write(folder, asking=asking)
        case.record(folder)
        return folder

    return get


def said(rows: Iterable[Row], *, asked: bool) -> dict[int, list[tuple[str, str]]]:
    """What the program said (asked: what was asked of it), by rank, in order; no durations, ids."""
    found: dict[int, list[tuple[str, str]]] = {}
    for row in rows:
        text = str(row["value"])
        if text.startswith("ASK") == asked and not text.startswith(("took", "meeting")):
            answer = (json.dumps(row["context"]), f"{row['name']} {text}")
            found.setdefault(row["rank"], []).append(answer)
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_replay_of_all_ranks_answers_what_the_modified_program_says(
    case: Case, recorded, tmp_path: Path
) -> None:
    plain, asking = recorded(case), recorded(case, asking=True)
    rows, oracle = logs(plain / ".flor", plain), logs(asking / ".flor", asking)
    assert said(rows, asked=False) == said(oracle, asked=False)
    assert sorted(said(rows, asked=False)) == list(case.ranks)

    work, report = tmp_path / "work", tmp_path / "report.json"
    shutil.copytree(plain, work)
    case.write(work, asking=True)
    before = [checksums(work), checksums(work, store=True)]
    words = ("replay", "--script", work / "train.py", "--report", report)
    done = expect(0, flor(*words, cwd=work, store=work / ".flor"))
    assert [checksums(work), checksums(work, store=True)] == before
    told = json.loads(report.read_text())
    assert told["verdict"] == "verified", done.stdout
    assert told["compared"] == len(rows)
    assert told["states_compared"] >= case.states
    found = said(logs(work / ".flor", work), asked=True)
    assert found == said(oracle, asked=True)
    assert sorted(found) == [rank for rank in case.ranks if found.get(rank)]


def test_ranks_that_log_the_same_names_are_kept_apart(recorded) -> None:
    folder = recorded(NAMED)
    store = flor_package.open(folder / ".flor")
    losses = store.logs("loss").df()
    assert sorted(losses["rank"]) == [0, 1, 1, 1, 2, 2, 2]
    assert not losses.duplicated(["rank", "epoch"]).any()
    found = store.checkpoints().df()
    assert set(found["rank"]) == {1, 2}
    first, second = (store.load(at={"epoch": 1}, rank=rank)["weights"] for rank in (1, 2))
    assert first.tolist() != second.tolist()
    assert store.load(at={"epoch": 1})["weights"].tolist() == first.tolist()
    with pytest.raises(flor_package.FlorError, match="has no rank 7; its ranks: 0, 1, 2"):
        store.load(rank=7)
    out = folder.parent / "second.safetensors"
    words = ("export", "--at", "epoch=1", "--rank", "2", "--output", out)
    expect(0, flor(*words, cwd=folder, store=folder / ".flor"))
    assert out.stat().st_size


def test_a_killed_rank_is_told_and_what_it_logged_is_compared(tmp_path: Path) -> None:
    """One worker kills itself, one fails; a daemon that the program's end terminates is no harm."""
    (tmp_path / "train.py").write_text((PROGRAMS / "ending.py").read_text())
    store = tmp_path / ".flor"
    for how, status in (("well", "completed"), ("failed", "failed"), ("killed", "killed")):
        expect(0, flor("record", "train.py", how, cwd=tmp_path, store=store))
        shown = expect(0, flor("show", cwd=tmp_path, store=store)).stdout
        assert re.search(rf"^status +{status}$", shown, re.MULTILINE)
        assert ("rank 3" in shown) == (how != "well")
    added = (tmp_path / "train.py").read_text().replace("# ask(", 'print("ASK", epoch)  # (')
    (tmp_path / "train.py").write_text(added)
    report = tmp_path / "report.json"
    expect(0, flor("replay", "--report", report, cwd=tmp_path, store=store))
    told = json.loads(report.read_text())
    assert told["verdict"] == "verified" and told["differing"] == 0
    assert any("rank 3 was ended from outside" in note for note in told["notes"])
    answers = said(logs(store, tmp_path), asked=True)
    assert {rank: len(found) for rank, found in answers.items()} == {2: 4, 3: 3}


def test_processes_see_the_same_whether_they_are_recorded_or_not(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text((PROGRAMS / "sees.py").read_text())
    store = tmp_path / ".flor"
    plain = expect(0, run(sys.executable, "train.py", "x", cwd=tmp_path, store=store))
    recorded = expect(0, flor("record", "train.py", "x", cwd=tmp_path, store=store))
    assert recorded.stdout.splitlines() == plain.stdout.splitlines()
    assert len(plain.stdout.splitlines()) == 4


def test_an_added_statement_that_raises_in_a_rank_is_the_scripts_error(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text((PROGRAMS / "ending.py").read_text())
    expect(0, flor("record", "train.py", "well", cwd=tmp_path, store=tmp_path / ".flor"))
    added = (tmp_path / "train.py").read_text().replace("# ask(", "print(1 // (2 - epoch))  # (")
    (tmp_path / "train.py").write_text(added)
    done = expect(1, flor("replay", cwd=tmp_path, store=tmp_path / ".flor"))
    assert "ZeroDivisionError" in done.stderr


def test_other_questions_to_a_run_of_ranks(recorded, tmp_path: Path) -> None:
    """What differs names its rank; the verbs that need one process refuse."""
    work = tmp_path / "work"
    shutil.copytree(recorded(DDP), work)
    store = work / ".flor"
    for words in (("resume",), ("fork", "latest", "--at", "epoch=1"), ("shell", "--at", "epoch=1")):
        done = expect(2, flor(*words, cwd=work, store=store))
        assert "has 2 ranks" in done.stderr and "flor replay" in done.stderr
    shown = expect(0, flor("show", cwd=work, store=store)).stdout
    assert re.search(r"^ +1: completed, pid \d+, 3 × epoch$", shown, re.MULTILINE)

    (path,) = store.glob("runs/*/run.json")
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"world": 4}))
    refused = expect(2, flor("replay", cwd=work, store=store)).stderr
    assert "part of a training of 4 ranks, of which it holds 0, 1" in refused
    path.write_text(json.dumps(told))

    source = (work / "train.py").read_text()
    (work / "train.py").write_text(source.replace("100 + rank", "100 + 2 * rank"))
    report = tmp_path / "report.json"
    words = ("replay", "--script", work / "train.py", "--force", "--report", report)
    expect(3, flor(*words, cwd=work, store=store))
    differing = json.loads(report.read_text())["differences"]
    assert {one["rank"] for one in differing} == {0, 1}
