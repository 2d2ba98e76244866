"""Probes that draw random numbers and switch modes: the run does not notice.

The oracle is the run in which each probe is wrapped in saving and restoring, written down here
without flor's help (:data:`SAVING`).
"""

from __future__ import annotations

import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import TIMEOUT, WORKLOADS_FOLDER, environment, expect, flor, logs

from flor.capture.protection import ProbeGuard
from flor.capture.usercode import UserCode
from flor.instrumentation.protect import PROTECT, protect
from flor.instrumentation.source import read_source
from flor.instrumentation.spans import span_of
from flor.instrumentation.unknown import Unknown, unknown

PROGRAM = (WORKLOADS_FOLDER / "drawing" / "train.py").read_text()
ASKS = {
    "before": """
        flor.log("ask/torch", torch.rand(1).item())
        flor.log("ask/numpy", np.random.normal())
    """,
    "library": 'flor.log("ask/python", [random.random(), rng.normal(), float(rng.integers(9))])',
    "between": """
        if step % 2:
            torch.manual_seed(99)
            flor.log("ask/shuffled", torch.randperm(5, generator=shuffler).tolist())
    """,
    "forward": """
        with torch.no_grad():
            flor.log("ask/forward", net(batch).sum().item())
            flor.log("ask/mean", net[1].running_mean.tolist())
    """,
    "backward": """
        second = nn.functional.mse_loss(net(inputs), wanted)
        second.backward()
        flor.log("ask/gradient", [p.grad.norm().item() for p in net.parameters()])
        net.eval()
        torch.set_grad_enabled(False)
    """,
    "own": 'flor.log("ask/own", noise.draw())',
    "outer": """
        drawn = [np.random.normal(), random.random(), torch.randn(2).tolist(), noise.draw()]
        flor.log("ask/outer", drawn)
        flor.log("ask/dropout", net(inputs).mean().item())
    """,
    "evaluate": 'flor.log("ask/evaluate", evaluate())',
}
SAVING = """
import contextlib

@contextlib.contextmanager
def saving():
    state = [random.getstate(), np.random.get_state(), torch.get_rng_state()]
    state += [rng.bit_generator.state, shuffler.get_state(), noise.own.getstate()]
    flags = {module: module.training for module in net.modules()}
    buffers = [(each, each.clone()) for each in net.buffers()]
    grads = [(p, None if p.grad is None else p.grad.clone()) for p in net.parameters()]
    enabled = torch.is_grad_enabled()
    yield
    random.setstate(state[0])
    np.random.set_state(state[1])
    torch.set_rng_state(state[2])
    rng.bit_generator.state = state[3]
    shuffler.set_state(state[4])
    noise.own.setstate(state[5])
    for module, flag in flags.items():
        module.training = flag
    torch.set_grad_enabled(enabled)
    for each, content in buffers:
        each.data.copy_(content)
    for parameter, content in grads:
        parameter.grad = content
"""
HOOK = """
def look(module, given, made):
    flor.log("ask/hook", [torch.rand(1).item(), random.random()])
net[3].register_forward_hook(look)
net[0].register_forward_pre_hook(lambda *_: flor.log("ask/lambda", np.random.normal()) and None)
"""
SAVED_HOOK = """
def look(module, given, made):
    with saving():
        flor.log("ask/hook", [torch.rand(1).item(), random.random()])
def also(*_):
    with saving():
        flor.log("ask/lambda", np.random.normal())
net[3].register_forward_hook(look)
net[0].register_forward_pre_hook(also)
"""
_ASK = re.compile(r"^( *)# ask\((\w+)\)$", re.MULTILINE)


def explicit(source: str) -> str:
    """Return the program with its loops named by itself."""
    head, loop = source.split("for epoch in range(4):\n")
    loop = loop.replace("in enumerate(", 'in enumerate(flor.loop("step", ').replace(
        "(24)):", "(24))):"
    )
    begin = "import flor\nwith flor.checkpointing(net=net, optimizer=optimizer):\n"
    loop = 'for epoch in flor.loop("epoch", range(4)):\n' + loop
    return head + begin + indent(loop, "    ")


def asking(source: str, *, saved: bool) -> str:
    """Return the program with all probes in it; ``saved``: the oracle."""

    def put(match: re.Match[str]) -> str:
        lines = ASKS[match[2]].rstrip().strip("\n")
        lines = re.sub(r"^ {8}", "", lines, flags=re.MULTILINE)
        return indent("with saving():\n" + indent(lines, "    ") if saved else lines, match[1])

    return with_top(_ASK.sub(put, source), SAVING if saved else "")


def with_top(source: str, top: str, before: str = "class Noise") -> str:
    """Return the program with definitions in it, and flor imported."""
    top = top if "import flor" in source else "\nimport flor\n" + top
    return source.replace(f"\n\n{before}", f"{top}\n\n{before}")


def start(source: str, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(parents=True)
    (folder / "train.py").write_text(source)
    return subprocess.Popen(
        [sys.executable, "-m", "flor", "record", "--overhead", "inf", "train.py"],
        cwd=folder,
        env=environment(folder / ".flor"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def values(rows: list[dict], *, asked: bool) -> list[tuple[str, str, str]]:
    return sorted(
        (row["name"], json.dumps(row["context"]), json.dumps(row["value"]))
        for row in rows
        if row["name"].startswith("ask/") == asked
    )


def record(base: Path, plain: str, oracle: str) -> tuple[Path, list]:
    """Record a program beside its oracle; return its folder and what the oracle says."""
    both = [start(plain, base / "plain"), start(oracle, base / "oracle")]
    for process in both:
        output, _ = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, output
    rows = [logs(base / name / ".flor", base) for name in ("plain", "oracle")]
    assert values(rows[0], asked=False) == values(rows[1], asked=False)
    return base / "plain", values(rows[1], asked=True)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory):
    made = {}

    def get(kind: str) -> tuple[Path, list, str]:
        if kind not in made:
            program = explicit(PROGRAM) if kind == "explicit" else PROGRAM
            base = tmp_path_factory.mktemp(kind)
            made[kind] = *record(base, program, asking(program, saved=True)), program
        return made[kind]

    return get


def replay(folder: Path, target: Path, source: str, *words: str) -> tuple[dict, list]:
    shutil.copytree(folder, target)
    (target / "train.py").write_text(source)
    report = target / "report.json"
    words = ("replay", "--script", str(target / "train.py"), "--report", str(report), *words)
    expect(0, flor(*words, cwd=target, store=target / ".flor"))
    rows = logs(target / ".flor", target)
    return json.loads(report.read_text()), values(rows, asked=True)


CASES = [("handsfree", 2), ("explicit", 1)]
if os.environ.get("FLOR_FULL"):
    CASES += [("handsfree", 1), ("explicit", 2)]


@pytest.mark.parametrize(("kind", "workers"), CASES)
def test_probes_that_draw_leave_the_run_alone(recorded, tmp_path: Path, kind: str, workers: int):
    folder, oracle, program = recorded(kind)
    asked = asking(program, saved=False)
    report, found = replay(folder, tmp_path / "copy", asked, "--workers", str(workers))
    assert report["verdict"] == "verified", report
    assert report["fallback"] == "none"
    assert len(found) == 4 * (4 * 8 - 2 + 3)
    assert found == oracle


def test_hooks_that_draw_leave_the_run_alone(tmp_path: Path):
    """Such a replay executes everything."""
    oracle = with_top(with_top(PROGRAM, SAVING), SAVED_HOOK, "def evaluate")
    folder, said = record(tmp_path, PROGRAM, oracle)
    asked = with_top(PROGRAM, HOOK, "def evaluate")
    report, found = replay(folder, tmp_path / "copy", asked)
    assert report["verdict"] == "verified", report
    assert found == said
    assert len(found) == 2 * 4 * 4


KNOWN = """
flor.log("loss", loss.item())
print(f"{total:.3f}", len(history), history["best"], model.weight.grad.norm())
flor.log("norms", {name: p.norm().item() for name, p in net.named_parameters()})
import numpy as np
with torch.no_grad():
    flor.log("mean", float(np.mean([1, 2])))
"""
TAKES_ITEMS = (
    "flor.log('first', data[0])\nfor x in loader: flor.log('x', 1)\nsum(losses)\na, b = pair"
)
CALLS = """
net(batch)
torch.rand(1).item()
np.random.normal()
helper()
flor.log("x", self.mean())
flor.log("x", self.area)
map(helper, [1])
net.eval()
import plugins
"""


@pytest.mark.parametrize(
    ("code", "level"),
    [(KNOWN, Unknown.NOTHING), (TAKES_ITEMS, Unknown.ITEMS), (CALLS, Unknown.CALLS)],
)
def test_what_a_statement_may_do(code: str, level: Unknown):
    for statement in ast.parse(code).body:
        found = unknown(
            [statement], {"mean" if level is Unknown.CALLS else "other", "area", "helper"}
        )
        assert found is level, ast.unparse(statement)


def test_only_what_is_unknown_is_wrapped(tmp_path: Path):
    text = "a = 1\nflor.log('a', a)\nb = 2\nflor.log('b', roll())\nflor.log('c', b)\nc = 3\n"
    source = read_source("x.py", text)
    added = [span_of(each) for each in source.tree.body if isinstance(each, ast.Expr)]
    lines = ast.unparse(protect(source.tree, added, set())).splitlines()
    assert lines[1] == "flor.log('a', a)"
    assert lines[3] == f"with {PROTECT}(('b', 'flor.log', 'roll'), True):"
    assert lines[4:] == ["    flor.log('b', roll())", "    flor.log('c', b)", "c = 3"]


class Part:
    """Something with a generator; ``other`` is reached by code alone."""

    def __init__(self, other: random.Random) -> None:
        self.rng = random.Random(1)
        self._other = other

    @property
    def other(self) -> random.Random:
        return self._other

    def draw(self) -> float:
        return self._other.random() + self.rng.random()


class Hidden:
    """Attributes by code."""

    def __init__(self) -> None:
        self._rng = random.Random(3)

    def __getattr__(self, name: str) -> random.Random:
        return self._rng


class Whole:
    def __init__(self) -> None:
        self.part = Part(random.Random(2))
        self.hidden = Hidden()
        self.history = [[float(n)] for n in range(200_000)]


@pytest.mark.parametrize(
    "path, kept",
    [
        ("whole.part.rng.random", "part rng"),
        ("whole.part.other.random", "other"),
        ("whole.part.draw", "part rng, other"),
        ("whole.hidden.anything.random", "hidden"),
        ("whole.missing", "part rng, other, hidden"),
        ("whole", "part rng, other, hidden"),
    ],
)
def test_attributes_lead_to_what_they_hold_and_code_to_all_of_its_object(path, kept):
    told: list[str] = []
    guard, whole = ProbeGuard(UserCode("/nowhere"), told.append), Whole()
    generators = {
        "part rng": whole.part.rng,
        "other": whole.part._other,
        "hidden": whole.hidden._rng,
    }
    before = {name: each.getstate() for name, each in generators.items()}
    with guard((path,), True):
        for each in generators.values():
            each.random()
    after = {name for name, each in generators.items() if each.getstate() == before[name]}
    assert after >= set(kept.split(", "))
    assert bool(told) == (path in ("whole", "whole.missing"))  # the history was not looked through


def test_parts_of_a_module_of_torch_are_found_without_its_other_parts():
    torch = pytest.importorskip("torch")
    guard = ProbeGuard(UserCode("/nowhere"))
    whole = type("Trainer", (), {})()
    whole.net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    whole.net.norm = whole.net[1]
    batch = torch.ones(4, 3)
    whole.net(batch).sum().backward()
    before = {name: each.clone() for name, each in whole.net.state_dict().items()}
    grads = [p.grad.clone() for p in whole.net.norm.parameters()]
    with guard(("whole.net.norm", "batch"), True):
        whole.net.norm(batch).sum().backward()
        whole.net.norm.eval()
    assert whole.net.norm.training
    assert all(torch.equal(each, before[name]) for name, each in whole.net.state_dict().items())
    for param, grad in zip(whole.net.norm.parameters(), grads, strict=True):
        assert torch.equal(param.grad, grad)


@pytest.mark.parametrize(
    "code, paths",
    [
        ("f(self.net.fc(x))", ["f", "self.net.fc", "x"]),
        ("f(self.net.fc, self)", ["f", "self"]),
        ("self.n = f(self.net.n)", ["f", "self"]),
        ("self.net.n += f()", ["f", "self.net"]),
        ("f(self.nets[0].fc)", ["f", "self.nets"]),
        ("f(lambda: a.b, [c.d for c in e.g])", ["a.b", "c", "e.g", "f"]),
    ],
)
def test_paths_are_of_what_is_read(tmp_path, code, paths):
    source = read_source("x.py", f"{code}\n")
    lines = ast.unparse(protect(source.tree, [span_of(source.tree.body[0])], set())).splitlines()
    found = re.search(r"\(\((.*?),?\), True\)", lines[0])
    assert found and [each.strip("' ") for each in found[1].split(",")] == paths


def test_large_data_is_not_walked_through():
    """A model is found beside it, and what is not looked at is said."""
    told: list[str] = []
    guard = ProbeGuard(UserCode("/nowhere"), told.append)
    numbers, rng = list(range(10**6)), random.Random(1)  # noqa: F841 - a probe names them
    pairs = [[rng], *([str(number)] for number in range(70_000))]  # noqa: F841
    state = rng.getstate()
    with guard(("rng", "numbers"), True):
        rng.random()
    assert (rng.getstate(), told) == (state, [])
    with guard(("rng", "pairs"), True):
        rng.random()
    assert rng.getstate() == state
    assert "more objects than are looked at" in told[0]


@given(st.lists(st.sampled_from(["uniform", "normal", "seed", "probe"]), max_size=40))
def test_numpys_state_is_what_the_program_made_it(steps):
    """Against a generator of its own, which no probe touches."""
    guard, own = ProbeGuard(UserCode("/nowhere")), np.random.RandomState(1)
    np.random.seed(1)
    for step in steps:
        if step == "probe":
            with guard((), False):
                np.random.normal()
                np.random.uniform(size=3)
        elif step == "seed":
            np.random.seed(2)
            own.seed(2)
        else:
            assert getattr(np.random, step)() == getattr(own, step)()
    assert str(np.random.get_state()) == str(own.get_state())
