"""Partial replay, counted in steps and not in seconds: one epoch of fifty re-executes one epoch."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracle import Recording, answers, differences, expect, probes, record, replay

STEPS = 100  # steps an epoch of mlp_50
EPOCHS = 50


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(probes.BY_NAME["mlp_50"], tmp_path_factory.mktemp("mlp_50"), overhead="1")


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
