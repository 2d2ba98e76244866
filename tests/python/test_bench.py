"""flor.bench: it runs, says what it left out, and tells worse from the same."""

import copy
import json
import os
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from flor.bench import command, markdown, plots, suites
from flor.bench.apart import apart
from flor.bench.compare import changes
from flor.bench.harness import BenchError, Experiment, Figure, Subject, interleave, measure
from flor.bench.peers import Peer, subjects
from flor.bench.results import Outcome, Results, SuiteOutcome
from flor.bench.summary import ratios, summarize


def bench(tmp_path, *words, code=0):
    given = ["--quick", "--rounds", "1", "--output", str(tmp_path / "out"), *words]
    done = CliRunner().invoke(command.main, given)
    assert done.exit_code == code, done.output
    return done.output


# What CI runs of the harness itself: every suite, flor and the yardsticks, smallest sizes.
def test_the_suites_run(tmp_path):
    bench(tmp_path, "--no-peers", "--no-plots")
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert data["quick"] and data["machine"]["cores"] >= 1
    assert [suite["name"] for suite in data["suites"]] == list(suites.NAMES)
    for suite in data["suites"]:
        assert suite["unfair"].strip()
        for experiment in suite["experiments"]:
            measured = experiment["samples"]
            assert experiment["base"] in measured and set(experiment["ours"]) <= set(measured)
            assert all(len(rounds) == 1 for rounds in measured.values())
            assert experiment["ours"] and all(rounds[0] for rounds in measured.values())
    report = (tmp_path / "out" / "report.md").read_text()
    assert report.count("What is unfair") == len(suites.NAMES)


def test_the_module_runs_as_a_program(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "flor.bench", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "--compare OLD.json" in done.stdout and not list(tmp_path.iterdir())


def test_two_runs_compare_and_draw(tmp_path):
    bench(tmp_path, "store", "--only", "by name")
    old = tmp_path / "old.json"
    (tmp_path / "out" / "results.json").rename(old)
    said = bench(tmp_path, "store", "--only", "a log", "--compare", str(old), code=2)
    assert "no figure of flor in common" in said
    assert (tmp_path / "out" / "store-0.png").stat().st_size > 1000
    data = json.loads(old.read_text())
    for rounds in data["suites"][0]["experiments"][0]["samples"].values():
        for row in rounds:
            row["open"] /= 1000
    old.write_text(json.dumps(data))
    said = bench(tmp_path, "store", "--only", "by name", "--compare", str(old), code=1)
    assert "worse: store: Chunks by name: index file, open" in said


def outcome(mine, its, lower=True):
    rows = {"flor": [{"x": v} for v in mine], "yardstick": [{"x": v} for v in its]}
    figure = Figure("x", "ms", lower)
    made = Outcome("t", "?", [figure], "yardstick", ["flor"], rows, [], [])
    return Results({}, {}, False, [SuiteOutcome("s", "?", "!", [made])])


def verdicts(old, new):
    return [change.verdict for change in changes(old, new)]


def test_worse_is_beyond_the_spread_of_both():
    old = outcome([10, 11, 12], [10, 10, 10])
    assert verdicts(old, outcome([11, 12, 13], [10, 10, 10])) == ["same"]
    assert verdicts(old, outcome([13, 14, 15], [10, 10, 10])) == ["worse"]
    assert verdicts(old, outcome([7, 8, 9], [10, 10, 10])) == ["better"]
    assert verdicts(old, outcome([9, 14, 20], [10, 10, 10])) == ["same"]


def test_a_slower_machine_makes_nothing_worse():
    old = outcome([10, 11, 12], [10, 10, 10])
    assert verdicts(old, outcome([30, 33, 36], [30, 30, 30])) == ["same"]


def test_more_is_better_for_rates():
    old = outcome([10, 11, 12], [1, 1, 1], lower=False)
    assert verdicts(old, outcome([5, 6, 7], [1, 1, 1], lower=False)) == ["worse"]


def test_quick_results_are_not_compared_with_others():
    old, new = outcome([1], [1]), outcome([1], [1])
    new.quick = True
    with pytest.raises(BenchError, match="--quick"):
        changes(old, new)


def test_results_survive_their_file(tmp_path):
    made = outcome([1.5], [2.0])
    made.write(tmp_path / "r.json")
    assert Results.read(tmp_path / "r.json") == made


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1}', '{"format": 1, "suites": [{"name": "x"}]}']
)
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(BenchError, match=r"r\.json"):
        Results.read(tmp_path / "r.json")


def test_rounds_rotate():
    order = []
    made = [Subject(n, lambda n=n: order.append(n) or {"x": 1.0}) for n in "abc"]
    assert len(interleave(made, 2)["a"]) == 2
    assert "".join(order) == "abcbca"


def test_a_peer_that_fails_is_named_and_ours_may_not():
    def fails():
        raise BenchError("broken")

    def experiment(ours):
        both = [Subject("base", lambda: {"x": 1.0}), Subject("other", fails, ours)]
        return Experiment("t", "?", [], both, 2, "base")

    samples, failed = measure(experiment(False))
    assert list(samples) == ["base"] and failed == ["other: failed: broken"]
    with pytest.raises(BenchError):
        measure(experiment(True))


def test_a_missing_peer_is_named(tmp_path):
    found, skipped = subjects([Peer("it", where, "no_such_module_x", "no-such-x")], tmp_path)
    assert not found
    assert skipped == ["it: left out, no-such-x is not installed (pip install no-such-x)"]


def where(folder, **given):
    return {"pid": float(os.getpid()), "here": float(os.getcwd() == str(folder)), **given}


def dies(folder):
    os._exit(3)


def raises(folder):
    print("what a peer says", flush=True)
    raise LookupError("gone")


def hangs(folder):
    time.sleep(600)


def test_apart_is_another_process_in_a_fresh_folder(tmp_path):
    run = apart(where, tmp_path, more=2.0)
    first, second = run(), run()
    assert len({os.getpid(), first["pid"], second["pid"]}) == 3
    assert first["here"] == 1.0 and first["more"] == 2.0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("function", "told"),
    [(dies, "ended with 3"), (raises, "(?s)gone.*what a peer says"), (hangs, "no answer")],
)
def test_apart_tells_how_it_failed(tmp_path, function, told):
    with pytest.raises(BenchError, match=told):
        apart(function, tmp_path, timeout_s=1.0 if function is hangs else 60.0)()
    assert not list(tmp_path.iterdir())


def test_ratios_are_round_by_round():
    mine, its = [{"x": 2.0}, {"x": 9.0}], [{"x": 1.0}, {"x": 3.0}]
    assert ratios(mine, its, "x") == [2.0, 3.0]
    assert ratios(mine, [{"x": 0.0}, {"x": 3.0}], "x") == []
    assert summarize([3.0, 1.0, 2.0]).p99 == 3.0
    assert summarize([3.0, 1.0, 2.0], lower_is_better=False).p99 == 1.0


def test_the_report_names_what_was_left_out():
    made = outcome([1.0], [2.0]).suites[0].experiments[0]
    made = copy.replace(made) if hasattr(copy, "replace") else made
    made.skipped.append("it: left out, x is not installed (pip install x)")
    text = markdown.outcome_text(made)
    assert "- it: left out" in text and "0.5 (0.5 to 0.5)" in text


def test_plots_without_matplotlib_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(BenchError, match="pip install matplotlib"):
        plots.draw(outcome([1.0], [2.0]), tmp_path)


def test_usage_errors(tmp_path):
    runner = CliRunner()
    assert runner.invoke(command.main, ["no-such-suite"]).exit_code == 2
    assert runner.invoke(command.main, ["log", "--only", "no such title"]).exit_code == 2
