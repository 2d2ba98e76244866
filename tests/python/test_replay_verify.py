"""Verification and merging: what counts as a difference, what becomes a record of the run."""

import json
import struct

import numpy as np
import pytest
from querykit import at, log_items
from replaykit import INNER, OUTER, outcome, plan, record, recorded_items

from flor import _core, query
from flor.errors import ReplayError
from flor.replay.command import ScriptError, attempt_plan, replay_run
from flor.replay.engine import Outcome, worker_environment
from flor.replay.merge import new_records, without_known, write_replay
from flor.replay.records import FLOAT, JSON, Record, python_value, read_records
from flor.replay.request import ReplayRequest
from flor.replay.verify import verify

STATE = "__flor__.state"


def users(items=None):
    return [item for item in (items or recorded_items()) if item[1] != STATE]


def changed(items, at_context, name, value):
    return [(c, n, value if (c, n) == (at_context, name) else v) for c, n, v in items]


def check(tmp_path, records, recorded_as=None, **result):
    recorded = record(tmp_path, recorded_as)
    made = plan(recorded)
    return verify(made, [outcome(tmp_path / "w", 0, records, **result)])


def test_the_same_values_are_verified(tmp_path):
    found = check(tmp_path, users(), states=[{"match": True, "boundary": "entry", "loop": "epoch"}])
    assert found.verdict == "verified" and found.differences == []
    assert found.compared == len(users()) and found.states_compared == 1


def test_one_bit_is_a_difference_with_its_place_and_distance(tmp_path):
    bits = struct.unpack(
        "<d", struct.pack("<q", struct.unpack("<q", struct.pack("<d", 3.0))[0] + 1)
    )
    found = check(tmp_path, changed(users(), at(epoch=2, step=1), "loss", bits[0]))
    assert found.verdict == "diverged" and len(found.differences) == 1
    first = found.differences[0]
    assert (first["kind"], first["name"], first["context"]) == (
        "value",
        "loss",
        [["epoch", 2], ["step", 1]],
    )
    assert first["recorded"] == 3.0 and first["distance"] == bits[0] - 3.0


def test_minus_zero_differs_and_nan_equals_nan(tmp_path):
    items = [([], "a", 0.0), ([], "b", float("nan"))]
    other = struct.unpack("<d", struct.pack("<Q", 0xFFF8000000000001))[0]
    found = check(tmp_path, [([], "a", -0.0), ([], "b", other)], items + recorded_items())
    assert [one["name"] for one in found.differences if one["kind"] == "value"] == ["a"]


def test_an_int_is_not_a_float(tmp_path):
    found = check(tmp_path, changed(users(), [], "end", 1.0))
    assert [one["name"] for one in found.differences] == ["end"]


def test_missing_and_additional_records_are_differences(tmp_path):
    items = [item for item in users() if item[:2] != (at(epoch=1), "acc")]
    found = check(tmp_path, [*items, (at(epoch=1), "other", 1)])
    assert [(one["kind"], one["name"]) for one in found.differences] == [
        ("missing", "acc"),
        ("additional", "other"),
    ]


def test_a_restored_block_need_not_log_again(tmp_path):
    items = [item for item in users() if item[0][:1] != at(epoch=1) or item[1] == "acc"]
    block = {"loop": "step", "context": [["epoch", 1]], "action": "restored", "steps": 3}
    assert check(tmp_path, items, blocks=[block]).verdict == "verified"


def test_a_skipped_context_need_not_log_again(tmp_path):
    items = [item for item in users() if item[0][:1] != at(epoch=1)]
    assert check(tmp_path / "a", items, skipped=[[["epoch", 1]]]).verdict == "verified"
    assert check(tmp_path / "b", items).verdict == "diverged"


def test_only_executed_iterations_are_expected(tmp_path):
    recorded = record(tmp_path)
    made = plan(recorded, INNER, only=(("epoch", 3, 3),))
    items = [item for item in users() if item[0][:1] == at(epoch=3) or item[1] == "start"]
    found = verify(made, [outcome(tmp_path / "w", 0, items)])
    assert found.verdict == "verified" and found.compared == 5


def test_without_anything_to_compare_it_is_unverified(tmp_path):
    recorded = record(tmp_path, [item for item in recorded_items() if item[1] == STATE])
    assert verify(plan(recorded), [outcome(tmp_path / "w", 0)]).verdict == "unverified"


@pytest.mark.parametrize(
    "meta", [{"cpu_model": "Z80"}, {"python": "2.7"}, {"packages": {"numpy": "0.1"}}]
)
def test_on_another_machine_nothing_is_verified(tmp_path, meta):
    recorded = record(tmp_path)
    recorded.meta.update(meta)
    found = verify(plan(recorded), [outcome(tmp_path / "w", 0, users())])
    assert found.compared == len(users()) and found.verdict == "unverified"
    assert any(text in found.notes[0] for text in ("Z80", "2.7", "0.1"))


def test_a_state_that_does_not_match_is_a_difference(tmp_path):
    state = {"context": [["epoch", 1]], "boundary": "iteration", "loop": "epoch"}
    found = check(tmp_path, users(), states=[state | {"match": False, "what": "model.w"}])
    assert found.verdict == "diverged" and found.differences[0]["kind"] == "state"


def test_addresses_and_pids_in_printed_lines_are_volatile(tmp_path):
    made = outcome(tmp_path / "w", 0)
    printed = [([], "stdout", "at 0x7f00 in 4321"), ([], "said", "0x1")] + recorded_items()
    again = [([], "stdout", f"at 0x7fff in {made.pid}"), ([], "said", "0x2")] + users()
    found = check(tmp_path / "a", again, printed)
    assert found.volatile == 1 and [one["name"] for one in found.differences] == ["said"]


def test_arrays_compare_by_content(tmp_path):
    recorded = record(tmp_path)
    store = _core.ChunkStore(str(recorded.layout.root))
    log = recorded.layout.log_dir(recorded.run)
    log_items(log, [([], "grad", np.zeros(3)), ([], "norm", np.ones(3))], store)
    recorded = type(recorded).load(recorded.layout, recorded.run)
    again = outcome(tmp_path / "w", 0, users())
    more = [([], "grad", np.zeros(3)), ([], "norm", np.array([1.0, 1.0, 3.0]))]
    log_items(again.folder / "log" / "records", more, store)
    store.close()
    found = verify(plan(recorded), [again])
    assert [(one["name"], one["distance"]) for one in found.differences] == [("norm", 2.0)]


def test_records_keep_every_kind_of_value(tmp_path):
    items = [([], "v", value) for value in (None, True, -7, 2.5, "text", b"\xff", [1, {"a": 2}])]
    log_items(tmp_path / "one", items)
    first = read_records(tmp_path / "one")
    content = {"differences": [], "verdict": "verified"}
    write_replay(tmp_path / "two", first, {}, content)
    second = read_records(tmp_path / "two" / "log")
    assert [(r.kind, r.value) for r in second] == [(r.kind, r.value) for r in first]
    assert [r.occurrence for r in second] == list(range(7)) and second[-1].kind == JSON
    assert python_value(second[3]) == 2.5


def test_what_workers_share_is_merged_once_and_in_order(tmp_path):
    recorded = record(tmp_path)
    made = plan(recorded, INNER, workers=2)
    probes = [[([], "p", 1), (at(epoch=e, step=0), "p", e)] for e in (0, 3)]
    outcomes = [outcome(tmp_path / "w", i, probes=part) for i, part in enumerate(probes)]
    rows, notes = new_records(made, outcomes)
    assert [(r.context, r.value) for r in rows] == [
        ((), 1),
        ((("epoch", 0), ("step", 0)), 0),
        ((("epoch", 3), ("step", 0)), 3),
    ]
    assert notes == []


def test_workers_that_disagree_are_told(tmp_path):
    made = plan(record(tmp_path), INNER, workers=2)
    outcomes = [outcome(tmp_path / "w", i, probes=[([], "p", i)]) for i in range(2)]
    assert "'p'" in new_records(made, outcomes)[1][0]


class Workers:
    """An engine whose workers have already run: it gives their outcomes, attempt by attempt."""

    def __init__(self, *attempts):
        self.attempts = list(attempts)
        self.modes = []

    def execute(self, plan, folder):
        self.modes.append(plan.mode)
        return self.attempts.pop(0)


def test_rows_of_a_replay_appear_once_and_twice_changes_nothing(tmp_path):
    recorded = record(tmp_path)
    probes = [(at(epoch=e), "probe", 1) for e in range(6)] + [(at(epoch=0), "acc", 9)]
    done = outcome(tmp_path / "w", 0, users(), probes)
    (tmp_path / "modified.py").write_text(OUTER)
    request = ReplayRequest(script=tmp_path / "modified.py")
    first = replay_run(recorded, request, Workers([done]))
    rows = list(query.logs(recorded.layout))
    assert first.verdict == "verified" and first.new_records == 7
    assert sum(row["origin"] == "replay" for row in rows) == 7
    second = replay_run(recorded, request, Workers([done]))
    assert second.new_records == 0
    assert list(query.logs(recorded.layout)) == rows
    folders = list(recorded.layout.replays_dir(recorded.run).iterdir())
    assert sorted(p.name for p in folders[0].iterdir()) == ["log", "replay.json"]
    told = json.loads((folders[0] / "replay.json").read_text())
    assert told["verdict"] == "verified" and told["id"] == folders[0].name


def test_a_new_value_at_a_known_place_is_kept(tmp_path):
    recorded = record(tmp_path)
    value = Record(0, "p", (), 0, FLOAT, 5, 0.0, 0)
    assert without_known(recorded.layout, recorded.run, [value]) == [value]


def test_a_refused_jump_executes_everything(tmp_path):
    made = plan(record(tmp_path), INNER)
    refused = outcome(tmp_path / "a", 0, refused="model.w has another shape", ok=False)
    workers = Workers([refused], [outcome(tmp_path / "b", 0, users())])
    attempt = attempt_plan(made, tmp_path / "work", workers)
    assert workers.modes == ["weak", "full"] and attempt.found.verdict == "verified"
    assert attempt.fallback == "full re-execution: model.w has another shape"


def test_what_diverges_after_a_restore_and_from_the_start_has_diverged(tmp_path):
    made = plan(record(tmp_path), INNER)
    wrong = changed(users(), [], "start", "other")
    workers = Workers(*([outcome(tmp_path / name, 0, wrong)] for name in "ab"))
    attempt = attempt_plan(made, tmp_path / "work", workers)
    assert workers.modes == ["weak", "full"] and attempt.found.verdict == "diverged"


def test_a_worker_that_dies_twice_is_an_error(tmp_path):
    made = plan(record(tmp_path), INNER)
    dead = Outcome(0, tmp_path, -9, 1)
    with pytest.raises(ReplayError, match="died"):
        attempt_plan(made, tmp_path / "work", Workers([dead], [dead]))


def test_a_probe_that_raises_saves_nothing(tmp_path):
    recorded = record(tmp_path)
    (tmp_path / "modified.py").write_text(INNER)
    trace = f'  File "{tmp_path}/modified.py", line 7, in <module>\nIndexError: 3\n'
    error = {"type": "IndexError", "text": "3", "traceback": trace}
    workers = Workers([outcome(tmp_path / "w", 0, ok=False, error=error)])
    with pytest.raises(ScriptError, match="IndexError"):
        replay_run(recorded, ReplayRequest(script=tmp_path / "modified.py"), workers)
    assert workers.modes == ["weak"]
    assert list(recorded.layout.replays_dir(recorded.run).iterdir()) == []


def test_workers_get_the_threads_and_hashes_of_the_run(monkeypatch):
    monkeypatch.setenv("FLOR_STORE", "elsewhere")
    threads = {"torch": 3, "MKL_NUM_THREADS": "2", "OMP_NUM_THREADS": None}
    made = worker_environment({"threads": threads, "hash_seed": "7"})
    assert made["OMP_NUM_THREADS"] == "3" and made["MKL_NUM_THREADS"] == "2"
    assert made["PYTHONHASHSEED"] == "7"
    assert "FLOR_STORE" not in made
