"""``flor.instrument``: the loops of chosen functions, in a script that plain Python runs."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from oracle import expect, flor, logs, run

import flor as package
from flor import _core
from flor.errors import InvalidError
from flor.instrumentation.functions import counterpart, functions_of, has_sites

STEPS = '''
"""What a training step is."""
import flor
import torch

class Trainer:
    def __init__(self, net):
        self.net = net
        self.optimizer = torch.optim.Adam(net.parameters(), lr=flor.arg("lr", 0.01))
        self.seen = []

    def fit(self, inputs, wanted):
        losses = 0.0
        for step, rows in enumerate(torch.randperm(len(inputs)).split(16)):
            loss = torch.nn.functional.mse_loss(self.net(inputs[rows]), wanted[rows])
            self.optimizer.zero_grad()
            loss.backward()
            # ask: flor.log("ask/grad", [step, self.net[0].weight.grad.norm().item()])
            self.optimizer.step()
            losses += loss.item()
            self.seen.append(len(rows))
        return losses
'''
TRAIN = '''
import flor
import steps
import torch

torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(64, 4)
wanted = inputs.sum(1, keepdim=True)

@flor.instrument
def train(trainer, epochs=4):
    """Train."""
    history = []
    for epoch in range(epochs):
        total = trainer.fit(inputs, wanted)
        history.append(total)
        # ask: flor.log("ask/history", [sum(history), len(trainer.seen)])
        flor.log("loss", total)
    return history

assert flor.instrument(steps) is steps
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
for untouched in range(2):
    flor.log("before", untouched)
train(steps.Trainer(net))
'''


def write(folder: Path, *, asked: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("train.py", TRAIN), ("steps.py", STEPS)):
        (folder / name).write_text(text.replace("# ask: ", "") if asked else text)


def rows(folder: Path, *, asked: bool) -> list[tuple[str, str, str]]:
    return [
        (row["name"], json.dumps(row["context"]), json.dumps(row["value"]))
        for row in logs(folder / ".flor", folder)
        if row["name"].startswith("ask/") == asked
    ]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of plain Python, one with dense checkpoints, and the oracle of both."""
    base = tmp_path_factory.mktemp("instrument")
    for name in ("plain", "dense", "oracle"):
        folder = base / name
        write(folder, asked=name == "oracle")
        if name == "dense":
            words = ("record", "--overhead", "inf", "train.py")
            expect(0, flor(*words, cwd=folder, store=folder / ".flor"))
        else:
            expect(0, run(sys.executable, "train.py", cwd=folder, store=folder / ".flor"))
    return base


def test_loops_of_instrumented_functions_are_contexts(recorded: Path):
    found = rows(recorded / "plain", asked=False)
    assert [(name, context) for name, context, _ in found] == [
        *(("before", "[]") for _ in range(2)),
        *(("loss", f'[["epoch", {epoch}]]') for epoch in range(4)),
    ]
    assert found == rows(recorded / "dense", asked=False)
    done = expect(0, flor("show", "latest", cwd=recorded, store=recorded / "dense" / ".flor"))
    assert "epoch" in done.stdout
    done = flor("checkpoints", "latest", cwd=recorded, store=recorded / "dense" / ".flor")
    assert len(expect(0, done).stdout.splitlines()) > 4


CASES = [("plain", ()), ("dense", ("--workers", "2"))]
if os.environ.get("FLOR_FULL"):
    CASES.append(("dense", ("--only", "epoch=2")))


@pytest.mark.parametrize(("kind", "words"), CASES)
def test_replay_answers_probes_inside(recorded: Path, tmp_path: Path, kind: str, words):
    target = tmp_path / "copy"
    shutil.copytree(recorded / kind, target)
    write(target, asked=True)
    report = target / "report.json"
    words = ("--script", target / "train.py", "--report", report, *words)
    expect(0, flor("replay", *words, cwd=target, store=target / ".flor"))
    told = json.loads(report.read_text())
    assert told["verdict"] == "verified"
    wanted = rows(recorded / "oracle", asked=True)
    if "--only" in words:
        wanted = [row for row in wanted if '["epoch", 2]' in row[1]]
        assert told["executed"]["epoch"] == 1
    if kind == "dense":
        assert told["fallback"] == "none"
    assert sorted(rows(target, asked=True)) == sorted(wanted)
    assert len(wanted) in (5, 20)


def test_an_outer_question_runs_no_inner_step(recorded: Path, tmp_path: Path):
    target = tmp_path / "copy"
    shutil.copytree(recorded / "dense", target)
    (target / "train.py").write_text(TRAIN.replace("# ask: ", ""))
    report = target / "report.json"
    words = ("--script", target / "train.py", "--report", report)
    expect(0, flor("replay", *words, cwd=target, store=target / ".flor"))
    told = json.loads(report.read_text())
    assert (told["verdict"], told["fallback"]) == ("verified", "none")
    assert told["executed"] == {"epoch": 4}
    wanted = [row for row in rows(recorded / "oracle", asked=True) if row[0] == "ask/history"]
    assert rows(target, asked=True) == wanted


def test_a_killed_run_resumes(recorded: Path, tmp_path: Path):
    """What is instrumented travels too."""
    folder = tmp_path / "killed"
    write(folder, asked=False)
    text = TRAIN.replace(
        "        history.append(total)\n",
        "        history.append(total)\n"
        "        import os, signal\n"
        "        if epoch == 2 and 'KILL' in os.environ:\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n",
    )
    (folder / "train.py").write_text(text)
    words = ("record", "--overhead", "inf", "train.py")
    expect(-9, flor(*words, cwd=folder, store=folder / ".flor", KILL="1"))
    expect(0, flor("resume", "latest", cwd=folder, store=folder / ".flor"))
    assert rows(folder, asked=False) == rows(recorded / "plain", asked=False)


# -- in this process: which functions, and what stays ------------------------------------------

MODULE = '''
import functools

def note(item):
    return item

def spy(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)
    return wrapper

def plain(a, b=2, *, c: int = 3) -> list:
    """Doc."""
    found = []
    for item in range(a):
        found.append((item, b, c, note(str(item))))
    return found

@spy
def decorated(n):
    return [each for each in loop(n)]

def loop(n):
    for i in range(n):
        yield str(note(i))

def closing(start):
    def inner(n):
        for i in range(n):
            nonlocal start
            start += note(i)
        return start
    return inner

class Model:
    def fit(self, n):
        for i in range(n):
            self.last = str(note(i))
        return self

    @classmethod
    def made(cls, n):
        for i in range(n):
            made = cls().fit(i + 1)
        return made

    @staticmethod
    def total(items):
        for item in items:
            print(item)

    @property
    def size(self):
        for i in range(3):
            self.seen = note(i)
        return 3

async def waits():
    for i in range(2):
        note(i)

from math import sqrt
from json import dumps
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A module of a program, and a session that makes loops visible without recording."""
    path = tmp_path / "model.py"
    path.write_text(MODULE)
    spec = importlib.util.spec_from_file_location("model", path)
    found = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "model", found)
    spec.loader.exec_module(found)

    from flor.recording import session
    from flor.recording.handsfree import Programs

    class Seeing:
        def __init__(self):
            self.programs = Programs()

        def instrument(self, code):
            return self.programs.visible(code)

    monkeypatch.setattr(session, "_session", Seeing())
    return found


def visible(function) -> bool:
    return has_sites(function.__code__, _core.LoopSite)


def test_a_function_stays_what_it_was(module):
    before = {name: getattr(module.plain, name) for name in ("__defaults__", "__kwdefaults__")}
    signature, said = inspect.signature(module.plain), module.plain(2)
    same = module.plain
    module.plain.mark = object()
    assert package.instrument(module.plain) is same
    assert visible(module.plain)
    assert {name: getattr(module.plain, name) for name in before} == before
    assert inspect.signature(module.plain) == signature
    assert inspect.getsource(module.plain).startswith("def plain")
    assert module.plain.__doc__ == "Doc."
    assert module.plain(2) == said
    assert not visible(module.loop)
    code = module.plain.__code__
    package.instrument(module.plain)
    assert module.plain.__code__ is code


def test_closures_methods_decorated_functions_and_generators(module):
    inner = module.closing(10)
    assert package.instrument(inner)(3) == 13
    assert inner(3) == 16
    assert visible(inner)
    assert package.instrument(module.decorated) is module.decorated
    assert list(package.instrument(module.loop)(2)) == ["0", "1"]
    model = module.Model()
    assert package.instrument(model.fit)(2) is model
    assert visible(module.Model.fit)
    assert package.instrument(module.Model.made)(2).last == "1"
    assert visible(module.waits) is False
    package.instrument(module.waits)
    assert visible(module.waits)


def test_a_module_with_its_classes(module):
    assert package.instrument(module) is module
    functions = [module.plain, module.loop, module.closing, module.waits, module.Model.fit]
    functions += [module.Model.made.__func__, module.Model.total, module.Model.size.fget]
    assert all(map(visible, functions))
    assert not visible(json.dumps)
    assert module.Model.made(3).size == 3


@pytest.mark.parametrize("target", [print, 3, "train", functools.partial(print), None])
def test_what_is_no_python_function_is_refused(target):
    with pytest.raises(InvalidError, match="takes a function"):
        functions_of(target)


def test_a_file_that_has_changed_is_refused(module, tmp_path: Path):
    (tmp_path / "model.py").write_text(MODULE.replace("append((item, b", "append((item, 1, b"))
    with pytest.raises(InvalidError, match="changed since it was imported"):
        package.instrument(module.plain)
    assert counterpart(module.plain.__code__, module.loop.__code__) is None


def test_functions_without_a_file_of_the_program_are_refused(tmp_path: Path):
    script = tmp_path / "train.py"
    script.write_text(
        "import json, flor\n"
        "scope = {}\n"
        "exec('def made(n):\\n    for i in range(n): print(i)', scope)\n"
        "for target in (json.dumps, scope['made']):\n"
        "    try:\n"
        "        flor.instrument(target)\n"
        "    except flor.FlorError as error:\n"
        "        print(type(error).__name__, error)\n"
    )
    done = expect(0, run(sys.executable, script, cwd=tmp_path, store=tmp_path / ".flor"))
    said = done.stdout.splitlines()
    assert len(said) == 2
    assert all(line.startswith("InvalidError flor.instrument: ") for line in said)
    assert "no file of this program" in said[0]
