"""Where added statements may run: never less than where they do run."""

from __future__ import annotations

import ast
import builtins
import sys
import types
from textwrap import dedent

import pytest
from test_instrument import boundaries, insert, src

from flor.instrumentation.compare import compare
from flor.instrumentation.loops import find_loops
from flor.instrumentation.reach import Part, Probed, probed_loops, probed_parts
from flor.instrumentation.spans import Span

PLAIN = """
    import flor
    def prepare():
        return 3
    def train(rows):
        return rows
    def validate():
        for v in flor.loop("valid", range(2)):
            train(v)
        return 1
    def main():
        count = prepare()
        for epoch in flor.loop("epoch", range(count)):
            for step in flor.loop("step", range(2)):
                train(step)
            validate()
        return 4
    if __name__ == "__main__":
        main()
    print_ = 3
"""

METHODS = """
    import flor
    class Base:
        def both(self):
            return 1
    class Trainer(Base):
        def __init__(self):
            self.size = 2
        def epoch(self):
            for step in flor.loop("step", range(self.size)):
                self.both()
        def score(self):
            return self.both()
        def fit(self):
            for epoch in flor.loop("outer", range(2)):
                self.epoch()
                self.score()
    class Env:
        def reset(self):
            return 1
        @property
        def size(self):
            return 2
        def __len__(self):
            return 3
        def __iter__(self):
            yield 1
            yield 2
    trainer = Trainer()
    trainer.fit()
    env = Env()
    for episode in flor.loop("episode", env):
        env.reset()
        x = len(env) + env.size
"""

HANDED = """
    import flor
    class Trainer:
        def __init__(self):
            self.seen = 0
        def epoch(self):
            for step in flor.loop("step", range(2)):
                self.seen += 1
            return report(self)
        def quiet(self):
            return 1
        def fit(self):
            for epoch in flor.loop("outer", range(2)):
                self.epoch()
                report(trainer=self)
    def report(trainer, deep=True):
        if deep:
            report(trainer, False)
        return trainer.quiet()
    def leak(thing):
        return [thing]
    def run(thing):
        thing.fit()
        return 5
    trainer = Trainer()
    run(trainer)
"""

HIDDEN = """
    import flor, functools
    hooks = []
    def hook(value):
        return value
    hooks.append(hook)
    def table(value):
        return value
    TABLE = {"a": table}
    def named(value):
        return value
    def late():
        yield 1
        yield 2
    feed = late()
    class Passed:
        def compare(self, other):
            return 0
        def key(self):
            return 3
    def library(thing):
        return thing.compare(thing)
    keep = [Passed()]
    def wrap(function):
        def inner(value):
            return function(value)
        return inner
    @wrap
    def wrapped(value):
        return value
    def reader():
        for r in flor.loop("reader", range(2)):
            yield r
    lazy = (named(n) for n in range(5))
    for step in flor.loop("step", range(2)):
        for each in hooks:
            each(step)
        TABLE["a"](step)
        globals()["named"](step) if step > 5 else None
        next(feed)
        library(keep[0])
        wrapped(step)
        next(lazy)
    for r in reader():
        other = r
    parts = [named(p) for p in flor.loop("part", range(2))]
    it = flor.loop("free", range(2))
    for i in it:
        done = i
"""
NO_GLOBALS = HIDDEN.replace('        globals()["named"](step) if step > 5 else None\n', "")

ORDER = """
    import flor
    def setup():
        return 1
    def run(n):
        first = setup()
        for a in flor.loop("a", range(n)):
            pass
        last = setup()
        return n
    def twice():
        return run(1)
    start = 1
    for _ in range(2):
        middle = twice()
    end = run(1)
    while start < 3:
        start += 1
        for b in zip(flor.loop("b", range(2)), "xy"):
            start += 0
        else:
            start += 0
    try:
        for c in flor.loop("c", range(2)):
            raise ValueError
    except ValueError:
        final = 1
    finally:
        over = 1
"""
TEXTS = {"plain": PLAIN, "methods": METHODS, "handed": HANDED, "hidden": HIDDEN}
TEXTS |= {"lazy": NO_GLOBALS, "order": ORDER}


def where_it_fires(source, loops):
    """Run a program whose probes call `probe()`; return the loops it fired in, before, after."""
    active: list[int] = []
    fired: set[int] = set()
    outside: set[str] = set()
    begun = []
    index = {site.call_span: site.index for site in loops}

    def loop(name, iterable):
        frame = sys._getframe(1)
        where = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        return laps(index[where], iterable)

    def laps(number, iterable):
        begun.append(number)
        for item in iterable:
            active.append(number)
            try:
                yield item
            finally:
                active.remove(number)

    def probe():
        fired.update(active)
        if not active:
            outside.add("after" if begun else "before")

    fake = types.ModuleType("flor")
    fake.loop = loop
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "flor", fake)
        patch.setattr(builtins, "probe", probe, raising=False)
        exec(compile(source.text, source.path, "exec"), {"__name__": "__main__"})
    return Probed(fired, "before" in outside, "after" in outside)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("code", ["probe()", "for unused in [1]:\n    probe()"])
def test_the_answer_is_never_less_than_what_happens(text, code):
    source = src(text)
    for line, margin in boundaries(source):
        new, spans, _ = insert(source, [(line, margin, code)])
        added = compare(source, new).added
        assert added == spans
        loops = find_loops(new)
        real = where_it_fires(new, loops)
        answer = probed_loops(new, loops, added)
        place = f"line {line}: {new.text.splitlines()[spans[0].start - 2]}"
        assert real.loops <= answer.loops, place
        assert (real.before, real.after) <= (answer.before, answer.after), place
        assert not (real.before and not answer.before), place
        assert not (real.after and not answer.after), place
        assert set(answer.reasons) == answer.loops


def ask(text, after, code="probe()"):
    """Insert a probe after the one line that reads `after`."""
    source = src(text)
    rows = dedent(text).lstrip("\n").splitlines()
    (row,) = [n for n, line in enumerate(rows, start=1) if line.strip() == after]
    margin = len(rows[row - 1]) - len(rows[row - 1].lstrip()) + 4 * after.endswith(":")
    new, spans, _ = insert(source, [(row + 1, margin, code)])
    loops = find_loops(new)
    found = probed_loops(new, loops, spans)
    return {loops[i].name for i in found.loops}, found.before, found.after


@pytest.mark.parametrize(
    "after, loops, before, later",
    [
        ("import flor", set(), True, False),
        ("def prepare():", set(), True, False),
        ("count = prepare()", set(), True, False),
        ("validate()", {"epoch"}, False, False),
        ("train(step)", {"epoch", "step"}, False, False),
        ("train(v)", {"epoch", "valid"}, False, False),
        ("def train(rows):", {"epoch", "step", "valid"}, False, False),
        ("def validate():", {"epoch"}, False, False),
        ("print_ = 3", set(), False, True),
        ("main()", set(), False, True),
    ],
)
def test_the_answer_is_sharp_where_the_text_is_plain(after, loops, before, later):
    assert ask(PLAIN, after) == (loops, before, later)


def test_methods_of_objects_kept_to_the_program_are_followed_by_name():
    assert ask(METHODS, "def epoch(self):")[0] == {"outer"}
    assert ask(METHODS, "def score(self):")[0] == {"outer"}
    assert ask(METHODS, "def both(self):")[0] == {"outer", "step"}
    assert ask(METHODS, "def reset(self):")[0] == {"episode"}


def test_functions_of_the_program_may_be_handed_an_instance():
    assert ask(HANDED, "def epoch(self):")[0] == {"outer"}
    assert ask(HANDED, "def quiet(self):")[0] == {"outer"}
    assert ask(HANDED, "self.seen += 1")[0] == {"outer", "step"}


@pytest.mark.parametrize(
    "change",
    [
        ("return trainer.quiet()", "return leak(trainer)"),
        ("return trainer.quiet()", "return library(trainer)"),
        ("return trainer.quiet()", "return lambda: trainer"),
        ("def run(thing):", "def run(thing, report):"),
        ("trainer = Trainer()", "trainer = Trainer(); report = library"),
        ("trainer = Trainer()", "trainer = Trainer(); here.report = library"),
        ("trainer = Trainer()", 'trainer = Trainer(); setattr(here, "report", library)'),
        ("report(trainer=self)", "report(*[0], self)"),
        ("report(trainer=self)", "report(**self)"),
        ("report(trainer=self)", "report(self, other=self)"),
        ("def report(", "@library\n    def report("),
    ],
)
def test_an_instance_that_leaks_from_there_runs_anywhere(change):
    text = HANDED.replace(*change)
    assert text != HANDED
    assert ask(text, "self.seen += 1")[0] == {"outer", "step"}
    assert ask(text, "def quiet(self):")[1:] == (True, True)


@pytest.mark.parametrize(
    "leak",
    ["library(env)", "kept = [env]", "env2 = env", "f(x=env)", "use(Env)", "g = getattr(env, n)"],
)
def test_methods_of_an_object_handed_on_run_anywhere(leak):
    text = METHODS.replace("    env = Env()\n", f"    env = Env()\n    {leak}\n")
    assert ask(text, "def reset(self):") == ({"outer", "step", "episode"}, True, True)


@pytest.mark.parametrize(
    "code", ["x = lambda: probe()", "x = (probe() for _ in y)", "register(lambda: probe())"]
)
def test_an_added_lambda_or_generator_runs_anywhere(code):
    assert ask(PLAIN, "validate()", code) == ({"epoch", "step", "valid"}, True, True)


def test_an_added_function_runs_where_it_is_called():
    source = src(PLAIN)
    new, spans, _ = insert(source, [(2, 0, "def mine():\n    probe()"), (15, 12, "mine()")])
    loops = find_loops(new)
    assert {loops[i].name for i in probed_loops(new, loops, spans).loops} == {"epoch", "step"}


def test_other_sources_call_too():
    new = src(
        "import flor, helpers\ndef f():\n    pass\nfor a in flor.loop('a', x):\n    helpers.g()\n"
    )
    loops = find_loops(new)
    quiet = src("def g():\n    return 1\n")
    calls = src("import program\ndef g():\n    return program.f()\n")
    alias = src("from program import f as h\ndef g():\n    return h()\n")
    span = [(3, 3)]
    assert probed_loops(new, loops, span, [quiet]).loops == set()
    assert probed_loops(new, loops, span, [calls]).loops == {0}
    assert probed_loops(new, loops, span, [alias]).loops == {0}


def test_nothing_added_fires_nowhere():
    source = src(HIDDEN)
    assert probed_loops(source, find_loops(source), []) == Probed()


def test_a_line_of_no_statement_may_fire_anywhere():
    source = src(PLAIN)
    loops = find_loops(source)
    found = probed_loops(source, loops, [(500, 501)])
    assert (len(found.loops), found.before, found.after) == (len(loops), True, True)


def test_boundaries_cover_the_programs():
    assert all(len(boundaries(src(text))) > 20 for text in TEXTS.values())
    assert all(isinstance(src(text).tree, ast.Module) for text in TEXTS.values())


def test_loops_and_added_lines_in_several_files():
    script = src("import engine\nfor epoch in flor.loop('epoch', x):\n    engine.run(epoch)\n")
    engine = src(
        """
        import flor
        def run(epoch):
            for step in flor.loop('step', range(epoch)):
                train(step)
            report(epoch)
        def train(step):
            return step
        def report(epoch):
            return epoch
        """
    )
    script = src("import flor\n" + script.text)

    def asked(line: int) -> list[set[int]]:
        parts = [
            Part(script, find_loops(script)),
            Part(engine, find_loops(engine), [Span(line, line)]),
        ]
        return [each.loops for each in probed_parts(parts)]

    lines = [text.strip() for text in engine.text.splitlines()]
    assert asked(lines.index("return step") + 1) == [{0}, {0}]
    assert asked(lines.index("report(epoch)") + 1) == [{0}, set()]
    assert asked(lines.index("return epoch") + 1) == [{0}, set()]
    assert asked(lines.index("import flor") + 1) == [{0}, {0}]  # whenever it is imported
