"""Runs of several ranks: recorded as one run, replayed with the same ranks, equal to the oracle.

A comment ``# ask(NAME): STATEMENT`` in a program of ``tests/workloads/ranks`` marks where a
statement is added for the replay; the oracle has it from the start.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from oracle import Row, expect, flor, logs

PROGRAMS = Path(__file__).parents[1] / "workloads" / "ranks"
_ASK = re.compile(r"# ask\(\w+\): ")


@dataclass(frozen=True)
class Case:
    """A program and how it is started; the ranks that it has then."""

    program: str
    words: tuple[str, ...]
    ranks: tuple[int, ...]
    states: int  # compared at least, over all ranks


CASES = [
    Case("ddp", ("-m", "torch.distributed.run", "--nproc_per_node", "2"), (0, 1), 8),
]


def write(case: Case, folder: Path, *, asking: bool = False) -> None:
    source = (PROGRAMS / f"{case.program}.py").read_text()
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(_ASK.sub("", source) if asking else source)


def record(case: Case, folder: Path) -> subprocess.CompletedProcess[str]:
    words = (*case.words, "train.py", "--lr", "0.05")
    return expect(0, flor("record", *words, cwd=folder, store=folder / ".flor"))


def said(rows: Iterable[Row], *, asked: bool) -> dict[int, list[tuple[str, str]]]:
    """What the program said (asked: what was asked of it), by rank, in order."""
    found: dict[int, list[tuple[str, str]]] = {}
    for row in rows:
        if str(row["value"]).startswith("ASK") == asked:
            answer = (json.dumps(row["context"]), f"{row['name']} {row['value']}")
            found.setdefault(row["rank"], []).append(answer)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.program)
def test_a_replay_of_all_ranks_answers_what_the_modified_program_says(
    case: Case, tmp_path: Path
) -> None:
    plain, asking = tmp_path / "plain", tmp_path / "asking"
    for folder in (plain, asking):
        write(case, folder, asking=folder is asking)
        record(case, folder)
    rows, oracle = logs(plain / ".flor", plain), logs(asking / ".flor", asking)
    assert said(rows, asked=False) == said(oracle, asked=False)
    assert sorted(said(rows, asked=False)) == list(case.ranks)

    report = tmp_path / "report.json"
    write(case, plain, asking=True)
    done = expect(0, flor("replay", "--report", report, cwd=plain, store=plain / ".flor"))
    told = json.loads(report.read_text())
    assert told["verdict"] == "verified", done.stdout
    assert told["compared"] == len(rows)
    assert told["states_compared"] >= case.states
    found = said(logs(plain / ".flor", plain), asked=True)
    assert found == said(oracle, asked=True)
    assert all(found.values())


def test_one_recording_asked_in_other_ways(tmp_path: Path) -> None:
    """What differs names its rank; the verbs that need one process refuse."""
    case = CASES[0]
    write(case, tmp_path)
    record(case, tmp_path)
    store = tmp_path / ".flor"
    for words in (("resume",), ("fork", "latest", "--at", "epoch=1"), ("shell", "--at", "epoch=1")):
        done = expect(2, flor(*words, cwd=tmp_path, store=store))
        assert "has 2 ranks" in done.stderr and "flor replay" in done.stderr

    source = (tmp_path / "train.py").read_text()
    (tmp_path / "train.py").write_text(source.replace("100 + rank", "100 + 2 * rank"))
    report = tmp_path / "report.json"
    expect(3, flor("replay", "--force", "--report", report, cwd=tmp_path, store=store))
    differing = json.loads(report.read_text())["differences"]
    assert {one["rank"] for one in differing} == {0, 1}
