"""Added statements find their place in other versions of a program, or are refused."""

import ast
import json
import os
import shutil
import sys

import pytest
from historykit import AFTER_GRAD, ASKED, BASE, CASES, ask
from oracle import answers, checksums, differences, expect, flor, logs, run

from flor.errors import SourceError
from flor.history.propagate import propagate
from flor.history.versions import Version, read_today

FULL = bool(os.environ.get("FLOR_FULL"))
QUICK = {"hyperparameters", "renamed-variables", "flor-by-parts", "inner-loop-twice"}


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
            script = [sys.executable, "-m", "flor", "record", "--overhead", "inf", "train.py"]
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


HELPER = """\
import math

STEPS = 3


def advance(state, rate):
    for step in range(STEPS):
        change = rate * state
        state = state - change
    return state
"""
CALLER = """\
import helper

value = 8.0
for epoch in range(2):
    value = helper.advance(value, 0.1)
print(value)
"""
INLINED = """\
value = 8.0
for epoch in range(2):
    for step in range(3):
        change = 0.1 * value
        value = value - change
print(value)
"""


def across_files(folder, asked, recorded):
    """Propagate what ``asked`` (texts by file) adds to HELPER and CALLER into ``recorded``."""
    base = {"helper.py": HELPER, "train.py": CALLER}
    for name, text in asked.items():
        (folder / name).write_text(text)
    versions = [
        Version(name, "train.py", folder, {file: text.encode() for file, text in texts.items()})
        for name, texts in (("base", base), ("there", recorded))
    ]
    return propagate(read_today(folder / "train.py", versions[:1]), versions[1])


def test_a_function_that_moved_to_another_file(tmp_path):
    asked = {
        "helper.py": HELPER.replace("    return", '    print("end", state)\n    return').replace(
            "rate * state\n", 'rate * state\n        print("change", change)\n'
        ),
        "train.py": CALLER,
    }
    function = HELPER.partition("\n\n\n")[2].replace("STEPS", "3")
    caller = CALLER.replace("helper.", "").replace("import helper\n", "")
    found = across_files(tmp_path, asked, {"train.py": function + caller})
    assert not found.refused, found.refused
    assert [one["there"] for one in found.placed] == ["train.py:3", "train.py:4"]
    placed_by_hand = asked["helper.py"].partition("\n\n\n")[2].replace("STEPS", "3") + caller
    assert same(found.texts["train.py"].decode(), placed_by_hand)


def test_code_that_was_inlined(tmp_path):
    """The loop is there, but one line alone says which variable is meant: refused, not guessed."""
    asked = {
        "helper.py": HELPER.replace(
            "state - change\n", 'state - change\n        print("s", state)\n'
        ),
        "train.py": CALLER,
    }
    found = across_files(tmp_path, asked, {"train.py": INLINED})
    assert not found.placed and not found.texts
    assert [one["why"] for one in found.refused] == [
        "'state', which it reads, may be 'value' there: too little speaks for it"
    ]


def test_helpers_and_imports_of_the_statement_come_along(tmp_path):
    helper = """def spread(values):
    '''Say
    more.'''
    return math.dist(values, values)


"""
    asked = BASE.replace("def gradient", helper + "def gradient").replace(
        "import numpy as np\n", "import math\nimport numpy as np\n"
    )
    asked = ask(asked, inner='flor.log("norm", spread(grad))', outer=None)
    text, found = placed(tmp_path, BASE, asked, CASES[3].source)
    assert not found.refused and len(found.placed) == 3
    assert "import math" in text and "flor.log('norm', spread(g))" in text
    text, found = placed(tmp_path, BASE, asked, "import math\n" + CASES[3].source)
    assert text.count("import math") == 1 and len(found.placed) == 3
    taken = CASES[3].source.replace("lr = ", "spread = 3\nlr = ")
    text, found = placed(tmp_path, BASE, asked, taken)
    assert {one["why"] for one in found.refused} == {
        "it binds 'spread', which that version uses for something else",
        "'spread', which it needs, could not be placed",
    }


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (BASE.replace(AFTER_GRAD, f"{AFTER_GRAD.strip()}; velocity *= 1\n"), "two statements"),
        (
            BASE.replace(AFTER_GRAD, f"pass; {AFTER_GRAD}"),
            "holds more than one statement",
        ),
    ],
)
def test_no_room_between_two_statements_of_a_line(tmp_path, there, why):
    text, found = placed(tmp_path, BASE, ask(BASE, outer=None), there)
    assert text == there and why in found.refused[0]["why"], found


TRAINER = """\
from torch import no_grad


class Trainer:
    def __init__(self, model, loader):
        self.model = model
        self.loader = loader
        self.optimizer = SGD(model.parameters())

    def train(self):
        for x, y in self.loader:
            self.optimizer.zero_grad()
            loss = criterion(self.model(x), y)
            loss.backward()
            self.optimizer.step()

    def validate(self):
        for x, y in self.loader:
            loss = criterion(self.model(x), y)
            print(loss.item())
"""
BACKWARD, STEP = "            loss.backward()\n", "            self.optimizer.step()\n"
PROBE = """\
            with no_grad():
                for p in self.model.parameters():
                    print("grad", p.grad.norm())
"""
LOSS = "            loss = criterion(self.model(x), y)\n"


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("self.model", "self.net", None),
        (STEP, "            if more(x):\n    " + STEP, None),
        (f"{LOSS}{BACKWARD}", f"            with autocast():\n    {LOSS}{BACKWARD}", None),
        (LOSS, f"            x = x.half()\n{LOSS}", None),
        (STEP, f"            clip(self.model.parameters())\n{STEP}", "may change what it reads"),
        (STEP, f"            for _ in range(2):\n    {STEP}", "stand apart"),
    ],
    ids=["attribute", "accumulation", "autocast", "half", "clipping", "two-steps"],
)
def test_a_method_of_another_shape(tmp_path, old, new, why):
    asked = TRAINER.replace(BACKWARD, BACKWARD + PROBE)
    there = TRAINER.replace(old, new)
    text, found = placed(tmp_path, TRAINER, asked, there)
    probe = PROBE.replace("self.model", "self.net") if new == "self.net" else PROBE
    wanted = there.replace(BACKWARD, BACKWARD + probe)
    assert same(text, there if why else wanted), found.refused
    assert [why in one["why"] for one in found.refused] == ([True] if why else [])


def test_what_a_function_reads_counts_as_read(tmp_path):
    """The probe names a function only; a new line changes what that function looks at."""
    look = "state = [1]\n\n\ndef look():\n    return sum(state)\n\n\n"
    base = look + "for i in range(3):\n    a = i\n    b = i\n"
    asked = base.replace("    a = i\n", "    a = i\n    print(look())\n")
    there = base.replace("    a = i\n", "    a = i\n    state.append(i)\n")
    text, found = placed(tmp_path, base, asked, there)
    assert text == there and "line 10 there may change what it reads" in found.refused[0]["why"]
    text, found = placed(tmp_path, base, asked, there.replace("state.append(i)", "other = [i]"))
    assert not found.refused and "a = i\n    print(look())\n    other" in text


def test_what_a_module_of_the_program_holds_may_change(tmp_path):
    """An own module has a state; what a call of its function does can't be passed over."""
    (tmp_path / "helper.py").write_text(HELPER)
    asked = {"helper.py": HELPER, "train.py": CALLER.replace("print", "print(helper.STEPS)\nprint")}
    there = CALLER.replace("print", "helper.reset()\nprint")
    found = across_files(tmp_path, asked, {"helper.py": HELPER, "train.py": there})
    assert "line 6 there may change what it reads" in found.refused[0]["why"]


def test_a_name_that_no_statement_binds_is_refused(tmp_path):
    base = "from math import *\n\nfor i in range(3):\n    a = i\n    b = i\n"
    asked = base.replace("    b", "    print(tau * a)\n    b")
    found = placed(tmp_path, base, asked, base.replace("range(3)", "range(2)"))[1]
    assert "what binds 'tau'" in found.refused[0]["why"]
