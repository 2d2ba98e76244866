"""Rewritten loops behave as written ones, and know where the thread is."""

from __future__ import annotations

import ast
import contextlib
import gc
import io
import json
import subprocess
import sys
import threading
import traceback

import pytest
from oracle import environment, expect, flor, logs

from flor import _core
from flor.instrumentation.loops import find_loops
from flor.instrumentation.quiet import Weight, weigh
from flor.instrumentation.rewrite import compile_loops, rewrite
from flor.instrumentation.source import read_source
from flor.instrumentation.training import Training

PROGRAMS = {
    "while_else": """
        n = 0
        while n < 3:
            n += 1
            if n == 2:
                continue
            print(n)
        else:
            print("else", n)
    """,
    "while_true": """
        n = 0
        while True:
            n += 1
            print(n)
            if n > 2:
                break
        else:
            print("never")
    """,
    "walrus": """
        it = iter([3, 2, 0, 9])
        while (n := next(it)):
            print(n)
        print(list(it))
    """,
    "for_else": """
        for a, (b, *c) in [(1, (2, 3)), (4, (5, 6, 7))]:
            print(a, b, c)
        else:
            print("all")
        for x in range(9):
            if x > 1:
                break
            print(x)
        else:
            print("never")
    """,
    "generators": """
        def numbers(n):
            try:
                for i in range(n):
                    print("made", i)
                    yield i
            finally:
                print("closed")
        for a, b in zip(numbers(3), numbers(5)):
            print(a, b)
        for i in numbers(9):
            if i:
                break
        print("after")
    """,
    "recursion": """
        def depth(n):
            while n:
                print(n)
                n -= 1
                for _ in range(n):
                    depth(n - 1)
                    break
            return n
        depth(3)
    """,
    "exceptions": """
        def risky():
            for i in range(3):
                try:
                    print(1 // (i - 1))
                except ZeroDivisionError as error:
                    print("caught", error)
                else:
                    continue
                finally:
                    print("finally", i)
        risky()
        for not_iterable in 5 if len("a") else ():
            print("never")
    """,
    "async": """
        import asyncio
        async def ticks():
            for i in range(2):
                await asyncio.sleep(0)
                yield i
        async def main():
            async for tick in ticks():
                print(tick)
            for _ in range(2):
                await asyncio.sleep(0)
        asyncio.run(main())
    """,
    "names": """
        class Box:
            for field in ("a", "b"):
                locals()[field] = len(field)
        print(sorted(vars(Box)))
        for self_name in range(1):
            print(sorted(name for name in globals() if not name.startswith("__")))
        print([y for x in range(2) for y in [x, len(str(x))]])
    """,
}


def text_of(name: str) -> str:
    lines = PROGRAMS[name].splitlines()[1:]
    return "\n".join(line[8:] for line in lines) + "\n"


def sites(site, suspends, counted, light):
    return _core.LoopSite(site.name or "loop", site.call_span, suspends, counted, light)


def outcome(code, path) -> str:
    """What a program prints, and its traceback if it ends with one."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        try:
            exec(code, {"__name__": "program", "__file__": str(path)})
        except Exception as error:
            trace = error.__traceback__.tb_next  # without this file
            out.write("".join(traceback.format_exception(type(error), error, trace)))
    # What is not iterable is underlined by us, and by Python not: the one difference known.
    return "\n".join(line for line in out.getvalue().splitlines() if line.strip(" ^"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_rewritten_program_does_the_same(tmp_path, name):
    path = tmp_path / "program.py"
    path.write_text(text_of(name))
    source = read_source(str(path))
    plain = outcome(compile(source.text, str(path), "exec"), path)
    assert outcome(compile_loops(source, str(path), sites), path) == plain
    assert "__flor_loop__" in ast.unparse(rewrite(source).tree)


def test_the_context_is_where_the_thread_is():
    outer, inner, lazy = (
        _core.LoopSite("epoch"),
        _core.LoopSite("step"),
        _core.LoopSite("i", None, True),
    )

    def generator():
        for i in lazy(range(2)):
            seen.append(("in", _core.context_path()))
            yield i

    seen = []
    _core.context_reset()
    for _ in outer(range(2)):
        for _ in inner(generator()):
            seen.append(("out", _core.context_path()))
        for _ in inner(range(1)):
            seen.append(("again", _core.context_path()))
    epochs = {name for _, path in seen for name, _ in path[:1]}
    assert len(epochs) == 1 and epochs.pop().startswith("epoch")
    tails = [(kind, path[1:]) for kind, path in seen][:5]
    assert tails == [
        ("in", [("i", 0)]),
        ("out", [("step", 0)]),
        ("in", [("step", 0), ("i", 1)]),
        ("out", [("step", 1)]),
        ("again", [("step#2", 0)]),
    ]
    assert _core.context_path() == []


def test_a_loop_left_on_another_thread_is_left():
    site = _core.LoopSite("somewhere", None, True)

    def numbers():
        for i in site(range(5)):
            yield -i

    kept = numbers()
    thread = threading.Thread(target=next, args=(kept,))
    thread.start()
    thread.join()
    del kept
    gc.collect()
    assert _core.context_path() == []


def test_the_watcher_is_told_of_outer_loops_and_their_ends():
    told = []

    class Handler:
        def iteration_ended(self, loop):
            told.append(("iteration", loop.name.partition("#")[0], loop.index))

        def ended(self, loop, exhausted):
            told.append(("end", loop.name.partition("#")[0], exhausted))

    outer, inner, deep = (_core.LoopSite(name) for name in ("outer", "inner", "deep"))
    _core.set_loop_watcher(lambda loop: Handler())
    try:
        for a in outer(range(2)):
            for _ in inner(range(2)):
                if a:
                    break
                for _ in deep(range(2)):
                    pass
    finally:
        _core.set_loop_watcher(None)
    assert told == [
        ("iteration", "inner", 0),
        ("iteration", "inner", 1),
        ("end", "inner", True),
        ("iteration", "outer", 0),
        ("end", "inner", False),
        ("iteration", "outer", 1),
        ("end", "outer", True),
    ]


def test_a_watcher_that_does_not_care_is_not_asked_again():
    asked, ended = [], []

    class Handler:
        def iteration_ended(self, loop): ...
        def ended(self, loop, exhausted): ...
        def block_ended(self, loop):
            ended.append((loop.name.partition("#")[0], loop.index))

    def watcher(loop):
        asked.append(loop.name.partition("#")[0])
        return Handler() if asked[-1] == "outer" else NotImplemented

    outer, inner, other = (_core.LoopSite(name) for name in ("outer", "inner", "other"))
    _core.set_loop_watcher(watcher)
    try:
        for _ in range(3):
            for _ in other(range(2)):
                pass
        for a in outer(range(3)):
            for _ in inner(range(2)):
                if a == 1:
                    _core.mark_training()
            for _ in other(range(4)):
                if a == 2:
                    _core.context_path()
    finally:
        _core.set_loop_watcher(None)
    assert asked == ["other", "outer", "inner"]
    assert ended == [("inner", 1), ("other", 3)]


def test_light_loops_are_seen_directly_inside_an_outermost_loop():
    outer = _core.LoopSite("outer")
    light = _core.LoopSite("light", None, False, 1, True)
    assert type(light([1])) is type(iter([]))
    paths = []
    _core.context_reset()
    for _ in outer(range(1)):
        for _ in light(range(1)):
            paths.append([name for name, _ in _core.context_path()][1:])
            for _ in light(range(1)):
                paths.append([name for name, _ in _core.context_path()][1:])
        for _ in light(range(1)):
            paths.append([name for name, _ in _core.context_path()][1:])
    assert paths == [["light"], ["light"], ["light#2"]]


WEIGHED = (
    """
import math
from somewhere import *
""",
    """
import math
def score(x):
    return len(x) + helper(x)
def helper(x):
    return math.sqrt(abs(x)) if x else score(x - 1)
def noisy(x):
    print(x)
def through(x):
    return noisy(x)
def product(a, b):
    return a @ b
class Meter:
    def add(self, x):
        print(x)
for quiet in range(3):
    words.append(len("a".split()))
for light in range(3):
    words.append(score(light))
for loud in range(3):
    through(loud)
for unknown in range(3):
    callback(unknown)
for method in range(3):
    meter.add(method)
for numpy in range(3):
    product(a, b)
for shadowed in range(3):
    max(1, 2)
for outer in range(3):
    for inner in range(3):
        with lock:
            pass
while quiet:
    quiet = len(words)
max = print
""",
)


def test_what_loops_can_do_by_the_names_in_them():
    star, text = (ast.parse(part) for part in WEIGHED)
    names = {
        node.lineno: node.target.id if isinstance(node, ast.For) else "while"
        for node in ast.walk(text)
        if isinstance(node, ast.For | ast.While)
    }
    weights = {names[line]: weight.name for line, weight in weigh(text).items()}
    full = dict.fromkeys(
        ("loud", "unknown", "method", "numpy", "shadowed", "outer", "inner"), "FULL"
    )
    assert weights == {"quiet": "QUIET", "light": "LIGHT", "while": "QUIET"} | full
    for node in text.body:
        star.body.append(node)
    assert set(weigh(star).values()) == {Weight.FULL}


def test_a_watcher_that_fails_fails_the_loop():
    _core.set_loop_watcher(lambda loop: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            _core.LoopSite("loop")([1])
    finally:
        _core.set_loop_watcher(None)
    assert _core.context_path() == []


def test_which_loops_may_train(tmp_path):
    text = """
def train(net, opt):
    for batch in net:
        opt.step()

def tell():
    print("hello")

for name in dir():
    str(name)
for x in range(3):
    tell()
for epoch in range(3):
    train(None, None)
"""
    source = read_source("/program.py", text)
    training = Training()
    training.add(rewrite(source))
    promises = {}
    for site in find_loops(rewrite(source)):
        promises[site.name] = training.promise(("/program.py", site.call_span))
    assert promises == {"batch": 2, "name": 0, "x": 0, "epoch": 2}


TRAIN = """
import numpy as np

def batches(rng, n):
    for _ in range(n):
        yield rng.normal(size=4)

def main():
    rng = np.random.default_rng(0)
    weights = np.zeros(4)
    for epoch in range(12):
        for batch in batches(rng, 30):
            weights += 0.1 * (batch.sum() - weights)
        print("epoch", epoch, weights.sum())

main()
"""


def test_an_unmodified_program_is_recorded_and_asked(tmp_path):
    """NumPy alone: the loop that prints is the main one; a question outside runs no inner step."""
    store = tmp_path / ".flor"

    def flor(*words):
        command = [sys.executable, "-m", "flor", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment(store), capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    plain = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    done = flor("record", "--overhead", "inf", "train.py")
    assert (done.returncode, done.stdout) == (0, plain.stdout), done.stderr
    rows = logs(store, tmp_path)
    assert [row["context"] for row in rows] == [[["epoch", e]] for e in range(12)]
    probe = '        print("first", weights[0])\n        print("epoch"'
    script.write_text(TRAIN.replace('        print("epoch"', probe))
    asked = flor("replay", "--report", "report.json")
    assert asked.returncode == 0, asked.stdout + asked.stderr
    oracle = subprocess.run(
        [sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    new = [row for row in logs(store, tmp_path) if row["origin"] == "replay"]
    assert [row["value"] for row in new] == [
        line for line in oracle.stdout.splitlines() if line.startswith("first")
    ]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "verified" and report["fallback"] == "none"


SETS = """
import os
names = ["".join(chr(97 + (i * j) % 26) for j in range(3, 9)) for i in range(40)]
order = list(set(names))
for place, name in enumerate(order):
    print(place, name, os.environ.get("PYTHONHASHSEED"))
"""


def test_sets_of_strings_keep_their_order_in_a_replay(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SETS)
    store = tmp_path / ".flor"
    runs = []
    for _ in range(2):
        expect(0, flor("record", script, cwd=tmp_path, store=store))
        runs.append([row["value"] for row in logs(store, tmp_path)])
    first, second = runs
    assert first != second and first[0].endswith("None")  # chosen anew, and not seen

    script.write_text(
        SETS.replace("    print", "    import flor\n    flor.log('n', name)\n    print")
    )
    done = expect(0, flor("replay", "latest", cwd=tmp_path, store=store))
    assert "verified" in done.stdout
