"""Exactness: every answer of replay equals, bit for bit, the modified script run from the start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oracle import Recording, answers, differences, expect, probes, record, replay

FULL = bool(os.environ.get("FLOR_FULL"))
DENSE = "inf"  # a checkpoint at each end of a block and of an iteration


def matrix() -> list:
    """One case a workload, in turn its first probe with one worker and its outer one with two.

    FLOR_FULL=1: every probe, with one worker and two, dense and adaptive.
    """
    cases = []
    for number, workload in enumerate(probes.WORKLOADS):
        for rank, probe in enumerate(workload.exact_probes()):
            outer = probe is next(
                p for p in workload.exact_probes() if p.kind in ("outer", "after")
            )
            for workers in (1, 2):
                for overhead in (None, DENSE):
                    chosen = (
                        (rank == 0 and workers == 1) if number % 2 else (outer and workers == 2)
                    )
                    quick = overhead == DENSE and chosen
                    if FULL or quick:
                        mode = "adaptive" if overhead is None else "dense"
                        name = f"{workload.name}-{probe.name}-{probe.kind}-{workers}w-{mode}"
                        cases.append(pytest.param(workload, probe, workers, overhead, id=name))
    return cases


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory):
    made: dict[tuple[str, str | None], Recording] = {}

    def get(workload, overhead: str | None = DENSE) -> Recording:
        key = (workload.name, overhead)
        if key not in made:
            made[key] = record(workload, tmp_path_factory.mktemp(workload.name), overhead)
        return made[key]

    return get


@pytest.mark.parametrize(("workload", "probe", "workers", "overhead"), matrix())
def test_replay_equals_the_run_from_the_start(
    recorded, tmp_path: Path, workload, probe, workers, overhead
):
    recording = recorded(workload, overhead)
    result = replay(
        recording, workload.modified(probe), tmp_path / "copy", "--workers", str(workers)
    )
    expect(0, result.done)
    asked = answers(result.new, probes.HINDSIGHT)

    assert sum(map(len, asked.values())) > 0
    assert result.report["verdict"] == "verified"
    assert result.report["differences"] == []
    assert result.report["new_records"] == len(result.new)
    assert result.report["compared"] + result.report["states_compared"] > 0
    assert [row for row in result.rows if row["origin"] == "record"] == recording.rows
    assert {row["run"] for row in result.rows} == {recording.rows[0]["run"]}
    if workload.deterministic:
        assert not (unlike := differences(asked, recording.expected(probe))), unlike


def test_one_worker_or_two_say_the_same_of_an_unseeded_run(recorded, tmp_path: Path):
    """No oracle can exist for a run that no one can repeat; the two replays are each other's."""
    workload = probes.BY_NAME["unseeded"]
    source = workload.modified(*workload.exact_probes())
    both = [
        replay(recorded(workload), source, tmp_path / f"copy{workers}", "--workers", str(workers))
        for workers in (1, 2)
    ]
    for result in both:
        expect(0, result.done)
        assert result.report["compared"] > 0
    first, second = (answers(result.new, probes.HINDSIGHT) for result in both)
    assert first and not differences(first, second)


def test_replaying_twice_adds_no_row(recorded, tmp_path: Path):
    workload = probes.BY_NAME["numpy_only"]
    source = workload.modified(workload.probe("gradient"))
    once = replay(recorded(workload), source, tmp_path / "once")
    again = Recording(workload, tmp_path / "once", once.rows, {})
    twice = replay(again, source, tmp_path / "twice")
    expect(0, once.done)
    expect(0, twice.done)
    assert len(once.new) > 0
    assert twice.rows == once.rows


def test_only_answers_for_that_epoch_alone(recorded, tmp_path: Path):
    workload = probes.BY_NAME["mlp_adam_schedule"]
    probe = workload.probe("grad")
    recording = recorded(workload)
    result = replay(recording, workload.modified(probe), tmp_path / "copy", "--only", "epoch=3")
    expect(0, result.done)
    expected = recording.expected(probe, only=("epoch", 3))
    assert sum(map(len, expected.values())) > 0
    assert not (unlike := differences(answers(result.new, probes.HINDSIGHT), expected)), unlike


def test_a_probe_that_disturbs_the_run_is_a_divergence(recorded, tmp_path: Path):
    workload = probes.BY_NAME["digits_cnn"]
    result = replay(
        recorded(workload), workload.modified(workload.probe("disturbing")), tmp_path / "copy"
    )
    expect(3, result.done)
    assert result.report["verdict"] == "diverged"
    assert result.report["differences"]


def test_a_changed_constant_is_a_divergence(recorded, tmp_path: Path):
    workload = probes.BY_NAME["digits_cnn"]
    source = workload.modified(workload.probe("changed-constant"), workload.probe("grad"))
    result = replay(recorded(workload), source, tmp_path / "copy")
    assert result.done.returncode in (2, 3), result.done.stderr
    assert result.report.get("verdict") != "verified"


def test_a_probe_that_raises_shows_its_own_traceback(recorded, tmp_path: Path):
    workload = probes.BY_NAME["digits_cnn"]
    recording = recorded(workload)
    result = replay(recording, workload.modified(workload.probe("raising")), tmp_path / "copy")
    expect(1, result.done)
    assert "IndexError" in result.done.stderr
    assert "modified.py" in result.done.stderr
    assert [row for row in result.rows if row["origin"] == "record"] == recording.rows
