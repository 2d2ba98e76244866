"""Plans of replay: which iterations are executed, where workers start, what is refused."""

import time

import pytest
from querykit import at
from replaykit import (
    AFTER,
    BEFORE,
    INNER,
    OUTER,
    SCRIPT,
    plan,
    question,
    record,
    recorded_items,
    state,
)

from flor.errors import InvalidError, SourceError
from flor.replay.command import run as run_command
from flor.replay.recorded import RecordedRun
from flor.replay.request import ReplayRequest


def extents(made):
    return [(part.start, part.stop, part.jump and part.jump.index) for part in made.segments]


def test_a_run_is_read_as_it_was_recorded(tmp_path):
    recorded = record(tmp_path)
    assert recorded.main_loop == "epoch" and recorded.iterations == 6 and recorded.complete
    assert [r.name for r in recorded.records[:2]] == ["start", "loss"]
    assert recorded.records[1].context == (("epoch", 0), ("step", 0))
    assert sorted(recorded.ends) == list(range(6)) and len(recorded.blocks) == 6
    assert all(end.can_jump for end in recorded.ends.values())
    assert len(recorded.iteration_seconds) == 6


def test_a_checkpoint_that_is_not_on_the_disk_is_none(tmp_path):
    recorded = record(tmp_path, durable=False)
    assert not any(end.can_jump for end in recorded.ends.values())
    assert extents(plan(recorded, INNER)) == [(0, 5, None)]


def test_without_probes_everything_is_executed(tmp_path):
    assert extents(plan(record(tmp_path))) == [(0, None, -1)]


def test_an_inner_probe_needs_all_iterations_and_no_end(tmp_path):
    made = plan(record(tmp_path), INNER)
    assert extents(made) == [(0, 5, -1)]
    assert [(loop["name"], loop["probed"]) for loop in made.question.loops] == [
        ("epoch", True),
        ("step", True),
    ]


def test_an_outer_probe_leaves_the_inner_loop_unprobed(tmp_path):
    made = plan(record(tmp_path), OUTER)
    assert [(loop["name"], loop["probed"]) for loop in made.question.loops] == [
        ("epoch", True),
        ("step", False),
    ]
    assert not made.question.in_blocks


def test_the_estimate_counts_how_often_an_inner_question_runs(tmp_path):
    for name in ("few", "many"):
        (tmp_path / name).mkdir()
    few = record(tmp_path / "few")
    many = record(tmp_path / "many", recorded_items(told=20_000))
    once = plan(many, INNER, only=(("epoch", 3, 3),)).seconds
    assert plan(few, INNER, only=(("epoch", 3, 3),)).seconds + 2 < once
    assert plan(many, INNER).seconds > 4 * once
    assert plan(many, OUTER).seconds < once


def test_a_probe_after_the_loop_starts_at_its_last_boundary(tmp_path):
    assert extents(plan(record(tmp_path), AFTER)) == [(6, None, 5)]


def test_a_loop_left_by_break_repeats_its_last_iteration(tmp_path):
    items = recorded_items()
    items = [item for item in items if item[0] != at(epoch=5) or item[1] != "__flor__.state"]
    assert extents(plan(record(tmp_path, items), AFTER)) == [(5, None, 4)]


def test_a_probe_before_the_loop_executes_no_iteration(tmp_path):
    assert extents(plan(record(tmp_path), BEFORE)) == [(0, -1, -1)]


def test_one_epoch_starts_at_the_boundary_before_it(tmp_path):
    made = plan(record(tmp_path), INNER, only=(("epoch", 3, 3),))
    assert extents(made) == [(3, 3, 2)]
    assert made.wants((("epoch", 3), ("step", 0))) and not made.wants((("epoch", 2),))
    assert not made.wants(())


def test_sparse_checkpoints_move_the_start_back(tmp_path):
    recorded = record(tmp_path, recorded_items(saved={1}))
    assert extents(plan(recorded, INNER, only=(("epoch", 4, 4),))) == [(2, 4, 1)]


def test_workers_share_the_iterations_at_boundaries(tmp_path):
    recorded = record(tmp_path)
    made = plan(recorded, INNER, workers=3)
    covered = [i for part in made.segments for i in range(part.start, part.stop + 1)]
    assert covered == list(range(6)) and made.workers == len(made.segments) == 3
    assert all(part.jump.index == part.start - 1 for part in made.segments)


def test_workers_do_not_repeat_each_other_where_checkpoints_are_sparse(tmp_path):
    recorded = record(tmp_path, recorded_items(saved={1}))
    assert extents(plan(recorded, INNER, workers=2)) == [(0, 1, -1), (2, 5, 1)]
    assert plan(recorded, INNER, workers=6).workers == 2


def test_a_boundary_that_refuses_jumps_is_not_used(tmp_path):
    items = [
        (c, n, v | {"jumpable": False, "why": "a socket"} if n == "__flor__.state" else v)
        for c, n, v in recorded_items()
    ]
    made = plan(record(tmp_path, items), INNER, only=(("epoch", 3, 3),))
    assert extents(made) == [(0, 3, None)]
    assert any("a socket" in note for note in made.notes)


def test_a_loop_inside_another_is_executed_whole(tmp_path):
    items = [(at(fold=0), "__flor__.state", state("entry", "epoch", 0))]
    made = plan(record(tmp_path, items), INNER)
    assert made.mode == "full" and extents(made) == [(0, None, None)]


def test_a_run_that_was_killed_replays_its_complete_iterations(tmp_path):
    items = recorded_items()[:-4]  # killed in the last epoch
    made = plan(record(tmp_path, items, iterations=None, status="running", pid=0), INNER)
    assert extents(made) == [(0, 4, -1)]
    assert any("cut off" in note for note in made.notes)


def test_a_sample_is_spread_and_the_same_every_time(tmp_path):
    recorded = record(tmp_path)
    first, second = (plan(recorded, INNER, sample=2) for _ in range(2))
    assert first.sampled == second.sampled
    low, high = sorted(first.sampled)
    assert low < 3 <= high
    assert not first.wants((("epoch", (low + 1) if low + 1 != high else 0),)) or low == 0


@pytest.mark.parametrize("only", [("nope", 0, 0), ("epoch", 77, 80)])
def test_only_names_what_the_run_has(tmp_path, only):
    with pytest.raises(InvalidError, match=only[0]):
        plan(record(tmp_path), INNER, only=(only,))


def test_a_changed_statement_is_refused_unless_forced(tmp_path):
    recorded = record(tmp_path)
    changed = SCRIPT.replace("range(3)", "range(4)")
    with pytest.raises(SourceError, match="--force"):
        question(recorded, changed)
    assert any("may not be" in note for note in question(recorded, changed, force=True).notes)


def test_source_that_does_not_parse_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"modified\.py"):
        question(record(tmp_path), "for\n")


def test_a_dry_run_prints_the_plan_and_leaves_nothing(tmp_path, capsys):
    recorded = record(tmp_path)
    question(recorded, INNER)
    request = ReplayRequest(
        store=recorded.layout.root, script=tmp_path / "modified.py", dry_run=True
    )
    assert run_command(request) == 0
    out = capsys.readouterr().out
    assert "execute epoch=0..5" in out and "entry of epoch" in out
    assert not recorded.layout.replays_dir(recorded.run).exists()


def test_many_records_are_read_in_seconds(tmp_path):
    items = [(at(epoch=i // 1000, step=i % 1000), "loss", float(i)) for i in range(200_000)]
    recorded = record(tmp_path, items)
    before = time.perf_counter()
    again = RecordedRun.load(recorded.layout, recorded.run)
    assert len(again.records) == 200_000
    assert time.perf_counter() - before < 5
