"""Partial replay, counted in steps and not in seconds: one epoch of fifty re-executes one epoch."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from oracle import (
    Recording,
    answers,
    differences,
    expect,
    flor,
    logs,
    probes,
    record,
    replay,
    run,
)

STEPS = 100  # steps an epoch of mlp_50
EPOCHS = 50


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(probes.BY_NAME["mlp_50"], tmp_path_factory.mktemp("mlp_50"), overhead="inf")


def test_the_workload_is_what_the_counts_below_say(fifty: Recording):
    assert sum(row["name"] == "loss" for row in fifty.rows) == EPOCHS * STEPS


def test_one_epoch_of_fifty_executes_one_epoch(fifty: Recording, tmp_path: Path):
    probe = fifty.workload.probe("grad")
    source = fifty.workload.modified(probe)
    result = replay(fifty, source, tmp_path / "copy", "--only", "epoch=37")
    expect(0, result.done)
    assert result.report["executed"] == {"epoch": 1, "step": STEPS}
    assert result.report["prologues"] == 1
    assert result.report["fallback"] == "none"
    expected = fifty.expected(probe, only=("epoch", 37))
    assert not (unlike := differences(answers(result.new, probes.HINDSIGHT), expected)), unlike


def test_a_question_outside_the_inner_loop_executes_no_inner_step(fifty: Recording, tmp_path: Path):
    probe = fifty.workload.probe("norms")
    result = replay(fifty, fifty.workload.modified(probe), tmp_path / "copy")
    expect(0, result.done)
    inner = [block for block in result.report["blocks"] if block["loop"] == "step"]
    assert {block["action"] for block in inner} == {"restored"}
    assert result.report["executed"].get("step", 0) == 0
    assert not differences(answers(result.new, probes.HINDSIGHT), fifty.expected(probe))


def test_two_workers_share_the_epochs(fifty: Recording, tmp_path: Path):
    probe = fifty.workload.probe("grad")
    source = fifty.workload.modified(probe)
    result = replay(fifty, source, tmp_path / "copy", "--workers", "2")
    expect(0, result.done)
    assert result.report["workers"] == 2
    assert result.report["prologues"] == 2
    assert result.report["executed"] == {"epoch": EPOCHS, "step": EPOCHS * STEPS}
    assert not differences(answers(result.new, probes.HINDSIGHT), fifty.expected(probe))


def test_a_dry_run_executes_nothing_and_estimates(fifty: Recording, tmp_path: Path):
    source = fifty.workload.modified(fifty.workload.probe("grad"))
    result = replay(fifty, source, tmp_path / "copy", "--only", "epoch=37", "--dry-run")
    expect(0, result.done)
    assert result.new == []
    assert result.done.stdout.strip()


KEPT_LOOP = """
import flor
import numpy as np

rng = np.random.default_rng(3)
state = {"w": np.zeros(3)}
starts = iter(flor.loop("start", range(10, 90)))
with flor.checkpointing(state=state, overhead=float("inf")):
    for epoch in flor.loop("epoch", range(6)):
        first = next(starts)
        for step in flor.loop("step", range(4)):
            state["w"] += first * rng.normal(size=3)
        flor.log("w", state["w"].sum())
"""


def test_a_loop_that_the_program_keeps_is_no_difference(tmp_path):
    """Its position can't be restored: what is asked is executed, and verified."""
    store = tmp_path / ".flor"
    script = tmp_path / "train.py"
    script.write_text(KEPT_LOOP)
    expect(0, run(sys.executable, "train.py", cwd=tmp_path, store=store))
    asked = '        flor.log("first", first)\n        for step'
    script.write_text(KEPT_LOOP.replace("        for step", asked))
    expect(0, flor("replay", "--only", "epoch=4", cwd=tmp_path, store=store))
    new = [row for row in logs(store, tmp_path) if row["origin"] == "replay"]
    assert [row["value"] for row in new] == [14]


TWICE = """
import flor
import numpy as np

weights = np.zeros(3)


def train(rate):
    for epoch in flor.loop("epoch", range(4)):
        weights[:] += rate * epoch


with flor.checkpointing(weights=weights, overhead=float("inf")):
    train(0.5)
    train(2.0)
flor.log("end", weights.sum())
"""


def test_a_second_loop_of_the_statement_is_answered_too(tmp_path):
    """It logged nothing, so no record told of it; the question stands in it all the same."""
    store = tmp_path / ".flor"
    script = tmp_path / "train.py"
    script.write_text(TWICE)
    expect(0, run(sys.executable, "train.py", cwd=tmp_path, store=store))
    line = "        weights[:] += rate * epoch\n"
    script.write_text(TWICE.replace(line, line + '        flor.log("first", weights[0])\n'))
    expect(0, flor("replay", cwd=tmp_path, store=store))
    new = [row["value"] for row in logs(store, tmp_path) if row["origin"] == "replay"]
    assert new == [0.0, 0.5, 1.5, 3.0, 3.0, 5.0, 9.0, 15.0]
