"""Added statements find their place in other versions of a program, or are refused."""

import ast
import json
import os
import shutil
import sys

import pytest
from historykit import ASKED, BASE, CASES
from oracle import answers, checksums, differences, expect, flor, logs, run

from flor.errors import SourceError
from flor.history.propagate import propagate
from flor.history.versions import Version, read_today

FULL = bool(os.environ.get("FLOR_FULL"))
QUICK = {"hyperparameters", "renamed-variables", "flor-by-parts", "inner-loop-twice", "clipped"}


def version(folder, source, name="v1"):
    return Version(name, "train.py", folder, {"train.py": source.encode()})


def placed(folder, base, asked, source):
    """Return ``source`` with the statements that were added to ``base``, and what is said."""
    (folder / "train.py").write_text(asked)
    today = read_today(folder / "train.py", [version(folder, base)])
    found = propagate(today, version(folder, source, "v2"))
    return found.texts.get("train.py", source.encode()).decode(), found


def same(one, other):
    return ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_statement_stands_where_a_person_would_put_it(case, tmp_path):
    text, found = placed(tmp_path, BASE, ASKED, case.source)
    assert same(text, case.by_hand or case.source), text
    refused = [
        name for name in ("norm", "gap") for one in found.refused if name in one["statement"]
    ]
    assert tuple(refused) == case.refused, found.refused
    assert all(one["why"] for one in found.refused)
    assert len(found.placed) + len(found.refused) == 2


def test_today_must_extend_a_recorded_version(tmp_path):
    (tmp_path / "train.py").write_text(ASKED.replace("0.9", "0.8"))
    with pytest.raises(SourceError, match=r"(?s)more than add statements.*decay = 0\.9"):
        read_today(tmp_path / "train.py", [version(tmp_path, BASE)])
    today = read_today(tmp_path / "train.py", [version(tmp_path, BASE)], force=True)
    assert [len(added) for added in today.added.values()] == [2]


def test_of_several_versions_the_nearest_is_extended(tmp_path):
    (tmp_path / "train.py").write_text(ASKED)
    smaller = BASE.replace('flor.log("final", weights)\n', "")
    versions = [version(tmp_path, smaller, "small"), version(tmp_path, BASE, "base")]
    assert read_today(tmp_path / "train.py", versions).reference.name == "base"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Record every version in one folder and one store, the newest is what today's source extends;
    beside it the oracle: each version with the statements placed by hand, run whole.
    """
    cases = [case for case in CASES if FULL or case.name in QUICK]
    base = tmp_path_factory.mktemp("history")
    runs = {"recorded": [(c.name, c.source) for c in cases], "oracle": []}
    runs["recorded"].append(("base", BASE))
    runs["oracle"] = [(c.name, c.by_hand or c.source) for c in cases] + [("base", ASKED)]
    for kind, sources in runs.items():
        (base / kind).mkdir()
        for _, source in sources:
            (base / kind / "train.py").write_text(source)
            script = [sys.executable, "-m", "flor", "record", "--overhead", "1", "train.py"]
            expect(0, run(*script, cwd=base / kind, store=base / kind / ".flor"))
    ids = {
        kind: sorted(path.name for path in (base / kind / ".flor" / "runs").iterdir())
        for kind in runs
    }
    names = [name for name, _ in runs["recorded"]]
    return base, names, ids, {case.name: case for case in cases}


def test_every_version_gets_the_right_values_or_a_refusal(recorded, tmp_path):
    base, names, ids, cases = recorded
    folder = tmp_path / "work"
    shutil.copytree(base / "recorded", folder)
    (folder / "train.py").write_text(ASKED)
    expect(0, run("git", "init", "-q", cwd=folder, store=folder))
    expect(0, run("git", "add", "train.py", cwd=folder, store=folder))
    before = checksums(folder), checksums(folder, store=True)
    report = tmp_path / "report.json"
    words = ("replay", "--all", "--script", "train.py", "--report", report)
    done = flor(*words, cwd=folder, store=folder / ".flor")
    refused = any(case.refused for case in cases.values())
    expect(2 if refused else 0, done)
    assert (checksums(folder), checksums(folder, store=True)) == before
    assert not (folder / ".flor" / "scratch").exists()
    told = {entry["run"]: entry for entry in json.loads(report.read_text())["runs"]}
    assert sorted(told) == ids["recorded"]
    for name, ours, theirs in zip(names, ids["recorded"], ids["oracle"], strict=True):
        case = cases.get(name)
        rows = [row for row in logs(folder / ".flor", folder, ours) if row["origin"] == "replay"]
        whole = logs(base / "oracle" / ".flor", base, theirs)
        asked = {
            key: values
            for key, values in answers(whole, "none/", own=True).items()
            if key in ("norm", "gap")
        }
        assert not differences(answers(rows, "none/", own=True), asked), name
        entry = told[ours]
        everything = case is not None and case.by_hand is None
        assert entry["verdict"] == ("refused" if everything else "verified"), (name, entry)
        assert len(entry["refused"]) == (len(case.refused) if case else 0)
        assert all(one["why"] in done.stdout.replace("\n", " ") for one in entry["refused"])


PLAIN = """\
import numpy as np

rng = np.random.default_rng(0)
weights = rng.normal(size=4)
for epoch in range(3):
    for step in range(4):
        grad = weights + rng.normal(size=4)
        weights -= 0.1 * grad
    print("loss", weights @ weights)
"""


def test_plain_loops_and_a_table_over_all_runs(tmp_path):
    """Hands-free runs, chosen by --where, asked by a print; the dry run runs nothing."""
    script, store = tmp_path / "train.py", tmp_path / ".flor"
    other = PLAIN.replace("weights", "params").replace("range(3)", "range(2)")
    for source in (other, PLAIN):
        script.write_text(source)
        expect(0, flor("record", "train.py", cwd=tmp_path, store=store))
    asked = PLAIN.replace("    print", '        print("norm", grad @ grad)\n    print')
    script.write_text(asked)
    dry = expect(0, flor("replay", "--all", "--dry-run", cwd=tmp_path, store=store))
    assert "train.py:9 placed after train.py:8" in dry.stdout
    assert all(row["origin"] == "record" for row in logs(store, tmp_path))
    expect(0, flor("replay", "--where", "status = 'completed'", cwd=tmp_path, store=store))
    got = {run: logs(store, tmp_path, run) for run in sorted(os.listdir(store / "runs"))}
    for rows, epochs in zip(got.values(), (2, 3), strict=True):
        values = [row["value"] for row in rows if row["origin"] == "replay"]
        assert len(values) == 4 * epochs and all(value.startswith("norm ") for value in values)
    wanted = expect(0, run(sys.executable, script, cwd=tmp_path, store=tmp_path / "none")).stdout
    assert [row["value"] for row in list(got.values())[1] if row["name"] == "stdout"] == (
        wanted.splitlines()
    )
