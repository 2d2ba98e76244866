"""Source analysis: loops, differences between versions, and where added statements may run."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flor.errors import ReplayError, SourceError
from flor.instrumentation.compare import compare
from flor.instrumentation.guard import guard_wrapped
from flor.instrumentation.loops import find_loops
from flor.instrumentation.source import Source, read_source
from flor.instrumentation.spans import Span, covers, span_of

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted((ROOT / "tests" / "workloads").glob("*.py"))
PROGRAMS.append(ROOT / "python" / "flor" / "examples" / "digits.py")
SOURCES = [read_source(str(path)) for path in PROGRAMS]


def src(text: str) -> Source:
    return read_source("program.py", dedent(text).lstrip("\n"))


# --- inserting statements into a program ---------------------------------------------------------


def boundaries(source: Source) -> list[tuple[int, int]]:
    """(line, indent): a statement may be inserted before this line, indented so."""
    lines = source.text.splitlines()
    found = set()
    for node in ast.walk(source.tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if not isinstance(block, list) or not block:
                continue
            if lines[block[0].lineno - 1].lstrip().startswith("elif"):
                continue
            for stmt in block:
                span = span_of(stmt)
                found |= {(span.start, stmt.col_offset), (span.end + 1, stmt.col_offset)}
    return sorted(found, key=lambda pair: (pair[0], -pair[1]))


def insert(source: Source, places: list[tuple[int, int, str]]) -> tuple[Source, list[Span], dict]:
    """Return the new source, the spans of what was inserted, and new line → old line."""
    rows, spans, lines = [], [], {}
    waiting = sorted(places, key=lambda place: (place[0], -place[1]))
    old = source.text.splitlines()
    for number in range(1, len(old) + 2):
        for _, margin, code in (place for place in waiting if place[0] == number):
            added = [" " * margin + line for line in code.splitlines()]
            spans.append(Span(len(rows) + 1, len(rows) + len(added)))
            rows += added
        if number <= len(old):
            rows.append(old[number - 1])
            lines[len(rows)] = number
    return read_source(source.path, "\n".join(rows) + "\n"), spans, lines


PROBES = [
    'flor.log("probe{0}", {0})',
    'for name{0} in range({0}):\n    flor.log("p", name{0})',
    'if probe{0}:\n    pass\nelse:\n    flor.log("x")',
    "with probe{0}() as value{0}:\n    value{0}.x = 1",
    "def probe{0}(a):\n    return a",
    "import probe{0}",
    'try:\n    probe{0} = 1\nfinally:\n    flor.log("done")',
    "value{0} = [\n    each\n    for each in probe{0}\n]",
    "@probe{0}\nclass Probe{0}:\n    x: int = 3",
]


@st.composite
def insertions(draw):
    source = draw(st.sampled_from(SOURCES))
    chosen = draw(st.lists(st.sampled_from(boundaries(source)), min_size=1, max_size=6))
    codes = [draw(st.sampled_from(PROBES)).format(9000 + i) for i in range(len(chosen))]
    return source, [(line, margin, code) for (line, margin), code in zip(chosen, codes)]


@settings(max_examples=300, deadline=None)
@given(insertions())
def test_an_insertion_is_never_a_change(case):
    source, places = case
    new, spans, lines = insert(source, places)
    found = compare(source, new)
    assert (found.added, found.changed) == (spans, [])
    assert {line: lines[line] for line in found.line_map} == found.line_map
    wanted = {span_of(n).start for n in ast.walk(source.tree) if isinstance(n, ast.stmt)}
    quiet = {n.lineno for n in ast.walk(source.tree) if is_constant(n) or isinstance(n, ast.Pass)}
    assert wanted - quiet <= set(found.line_map.values())


def is_constant(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_repeated_statement_is_an_addition(data):
    source = data.draw(st.sampled_from(SOURCES))
    simple = [n for n in ast.walk(source.tree) if isinstance(n, ast.Expr) and not is_constant(n)]
    node = data.draw(st.sampled_from(simple))
    line, margin = data.draw(st.sampled_from(boundaries(source)))
    new, _, _ = insert(source, [(line, margin, ast.unparse(node))])
    found = compare(source, new)
    assert (len(found.added), found.changed) == (1, [])


@settings(max_examples=100, deadline=None)
@given(insertions())
def test_a_deletion_is_a_removal(case):
    source, places = case
    new, spans, _ = insert(source, places)
    found = compare(new, source)
    assert found.added == []
    assert [change.old for change in found.changed] == spans
    assert {change.kind for change in found.changed} == {"removed"}


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: Path(source.path).stem)
def test_a_program_equals_itself(source):
    found = compare(source, source)
    assert (found.added, found.changed, found.probe_names, found.disturbing) == ([], [], set(), [])
    assert all(new == old for new, old in found.line_map.items())


# --- read_source, spans --------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["x = 1\nfor in y:\n", "x = 1\n  y = 2\n", "x = 1\n(\n"])
def test_a_source_that_does_not_parse_names_file_and_line(text):
    with pytest.raises(
        SourceError, match=r"train\.py, line 2 does not parse: .*; correct"
    ) as caught:
        read_source("train.py", text)
    assert isinstance(caught.value, ReplayError)
    assert caught.value.path == "train.py"


def test_unreadable_sources(tmp_path):
    with pytest.raises(SourceError, match=r"can't read the source .*gone\.py"):
        read_source(str(tmp_path / "gone.py"))
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'\n")
    with pytest.raises(SourceError, match="UTF-8"):
        read_source(str(tmp_path / "latin.py"))
    with pytest.raises(SourceError, match="null"):
        read_source("zero.py", "x = 1\0")
    (tmp_path / "coded.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    assert "é" in read_source(str(tmp_path / "coded.py")).text


@given(st.sets(st.integers(0, 60)), st.integers(-1, 62))
def test_covers(lines, line):
    spans = [Span(n * 3, n * 3 + n % 3) for n in sorted(lines)]
    assert covers(spans, line) == any(s.start <= line <= s.end for s in spans)


# --- loops ---------------------------------------------------------------------------------------

LOOPS = """
    import flor as f
    from flor import loop as laps
    import other

    for a in f.loop("a", range(3)):
        for b in enumerate(zip(laps("b", xs), ys)):
            z = [c for c in f.loop("c", range(2))]
        else:
            for d in f.loop(name, other.loop(2)):
                pass
        def inner():
            class Deep:
                def method(self):
                    for e in f.loop("e", q): pass
    it = f.loop("g", range(2))
    for h in sorted(h for h in f.loop("h", range(2))):
        pass
"""


def test_find_loops():
    source = src(LOOPS)
    loops = find_loops(source)
    shown = [(s.name, s.kind, s.parent, s.function, s.else_) for s in loops]
    assert shown == [
        ("a", "for", None, "<module>", False),
        ("b", "wrapped", 0, "<module>", True),
        ("c", "other", 1, "<module>", False),
        (None, "for", 0, "<module>", False),
        ("e", "for", None, "inner.<locals>.Deep.method", False),
        ("g", "other", None, "<module>", False),
        ("h", "other", None, "<module>", False),
    ]
    assert [s.index for s in loops] == list(range(7))
    assert (loops[0].body, loops[0].suite) == ((5, 14), (6, 14))
    assert (loops[1].body, loops[1].suite) == ((6, 10), (7, 7))
    assert loops[2].body == (0, 0)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: Path(source.path).stem)
def test_call_spans_are_those_of_code_objects(source):
    def positions(code):
        yield from code.co_positions()
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                yield from positions(constant)

    found = set(positions(compile(source.text, source.path, "exec")))
    assert {site.call_span for site in find_loops(source)} <= found


# --- compare -------------------------------------------------------------------------------------

OLD = '''
    """Train."""
    import flor
    lr = 0.1

    def helper(rows):
        """Help."""
        return rows + lr

    for epoch in flor.loop("epoch", range(3)):
        total = helper(epoch)
        if total > 2:
            print(total)
        history[0] = total
'''


def edit(*pairs, old=OLD):
    text = dedent(old).lstrip("\n")
    for before, after in pairs:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return compare(src(old), read_source("program.py", text))


def test_comments_layout_and_docstrings_are_no_change():
    found = edit(
        ('"""Train."""', '"""Train it.\n\nWell."""  # comment'),
        ('    """Help."""\n', ""),
        ("helper(epoch)", "helper(\n        epoch  # the rows\n    )"),
        ("if total > 2:\n", "if (total >\n        2):\n\n"),
    )
    assert (found.added, found.changed) == ([], [])


def test_a_docstring_that_the_program_reads_counts():
    old = '"""Train."""\nprint(__doc__)\n'
    found = compare(src(old), src(old.replace("Train", "Run")))
    assert [change.kind for change in found.changed] == ["changed"]


@pytest.mark.parametrize(
    "before, after",
    [
        ("lr = 0.1", "lr = 0.2"),
        ("def helper(rows):", "@cache\ndef helper(rows):"),
        ("def helper(rows):", "def helper(rows, more=1):"),
        ("    if total > 2:", "    if total > 3:"),
        ("range(3)", "range(4)"),
        ("        print(total)", "        if debug:\n            print(total)"),
        ("    history[0] = total", "    with quiet:\n        history[0] = total"),
        ("helper(epoch)", "helper(epoch) + 1"),
    ],
)
def test_changes(before, after):
    found = edit((before, after))
    assert [change.kind for change in found.changed] == ["changed"]
    assert found.added == []


def test_a_change_says_what_and_spares_the_rest():
    found = edit(("range(3)", "range(4)"), ("    history", '    flor.log("x", 1)\n    history'))
    (change,) = found.changed
    assert (change.old, change.new) == (Span(9, 13), Span(9, 14))
    assert "range(3)" in change.text and "range(4)" in change.text and "line 9" in change.text
    assert found.added == [Span(13, 13)]
    assert found.line_map[14] == 13 and 9 not in found.line_map


def test_removed_and_moved():
    found = edit(("lr = 0.1\n", ""))
    assert [(c.kind, c.old, c.new) for c in found.changed] == [("removed", Span(3, 3), None)]
    found = edit(
        ("    total = helper(epoch)\n", ""),
        ("history[0] = total", "history[0] = total\n    total = helper(epoch)"),
    )
    assert [c.kind for c in found.changed] == ["removed"]


def test_added_blocks_and_decorated_definitions():
    found = edit(
        ("        print(total)\n", '        print(total)\n    else:\n        flor.log("x", 1)\n')
    )
    assert (found.added, found.changed) == ([Span(14, 14)], [])
    found = edit(("lr = 0.1\n", "lr = 0.1\n@no_grad\ndef probe():\n    pass\n"))
    assert (found.added, found.changed, found.probe_names) == ([Span(4, 6)], [], {"probe"})


def test_probe_names():
    found = edit(
        ("lr = 0.1\n", "lr = 0.1\nimport numpy.linalg as la, os.path\n"),
        (
            "    history",
            "    for n, (m, *k) in z: w = (v := n)\n"
            "    with a as s.b, c as d: lr2 = lr\n    history",
        ),
    )
    assert found.probe_names == {"la", "os", "n", "m", "k", "w", "v", "d", "lr2"}


@pytest.mark.parametrize(
    "code, words",
    [
        ("total = 3", "binds 'total'"),
        ("for lr in x: pass", "binds 'lr'"),
        ("import helper", "binds 'helper'"),
        ("(lr := 3)", "binds 'lr'"),
        ("del total", "binds 'total'"),
        ("print = quiet", "binds 'print'"),
        ("history.x = 3", "assigns to history.x"),
        ("history[0][1] += 3", "assigns to"),
        ("find().x = 3", "assigns to"),
        ("break", "break"),
        ("if x: continue", "continue"),
        ("for q in x:\n        pass\n    else:\n        break", "break"),
        ("raise ValueError", "raise"),
        ("def probe():\n        global lr\n        lr = 3", "binds 'lr'"),
    ],
)
def test_disturbing(code, words):
    found = edit(("    history", f"    {code}\n    history"))
    assert found.changed == []
    assert any(words in sentence for sentence in found.disturbing)


@pytest.mark.parametrize(
    "code",
    [
        "rows = 3",  # a name of another function's own
        "for q in x:\n        if q: break\n        continue",
        "def probe(total):\n        lr = total\n        return lr",
        "mine = {}\n    mine['x'] = 3\n    del mine",
        "print([lr for lr in x])",
        "class Probe:\n        total = 3",
        "assert total > 2",
    ],
)
def test_not_disturbing(code):
    found = edit(("    history", f"    {code}\n    history"))
    assert (found.changed, found.disturbing) == ([], [])


@pytest.mark.parametrize(
    "code, words",
    [
        ("lr = 3", "binds 'lr'"),
        ("return 3", "return"),
        ("yield 3", "yield"),
        ("global rows2, lr", "scope of"),
        ("import flor", ""),
        ("total = 3", ""),
    ],
)
def test_disturbing_in_a_function(code, words):
    found = edit(("    return rows", f"    {code}\n    return rows"))
    assert found.changed == []
    assert [words in sentence for sentence in found.disturbing] == [True] * bool(words)


def test_importing_again_is_harmless_at_the_top_only():
    assert edit(("lr = 0.1", "import flor\nlr = 0.1")).disturbing == []
    assert edit(("lr = 0.1", "import other as flor\nlr = 0.1")).disturbing != []


def test_methods_that_others_may_call_are_disturbing():
    old = "class A(B):\n    def run(self): self.go()\n"
    for name, wanted in [("go", 1), ("__len__", 1), ("mine", 0)]:
        found = compare(src(old), src(old + f"    def {name}(self): pass\n"))
        assert (len(found.added), len(found.disturbing)) == (1, wanted)


def test_a_line_shared_with_the_program_is_reported():
    found = edit(("lr = 0.1", "lr = 0.1; probe(lr)"))
    assert found.added == [Span(3, 3)]
    assert "line of its own" in found.disturbing[0]


# --- guard ---------------------------------------------------------------------------------------

WRAPPED = """
import flor
seen = []
for n, a in enumerate(flor.loop("a", range(3))):
    seen.append(a)
    if a == 1:
        raise_at()
for b in flor.loop("b", range(2)): seen.append("b")
"""


def run_guarded(skipping):
    source = src(WRAPPED)
    tree = guard_wrapped(source, find_loops(source))
    lines: list[int] = []
    fake = types.SimpleNamespace(loop=lambda name, iterable: iterable)
    space = {"raise_at": lambda: lines.append(sys._getframe(1).f_lineno)}
    space |= {"__flor_skipping__": lambda: skipping}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "flor", fake)
        exec(compile(tree, source.path, "exec"), space)
    return space["seen"], lines


def test_guard_skips_wrapped_loops_only_and_keeps_lines():
    assert run_guarded(False) == ([0, 1, 2, "b", "b"], [6])
    assert run_guarded(True) == (["b", "b"], [])


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: Path(source.path).stem)
def test_guard_adds_its_statements_and_nothing_else(source):
    before = ast.dump(source.tree, include_attributes=True)
    loops = find_loops(source)
    tree = guard_wrapped(source, loops)
    compile(tree, source.path, "exec")
    assert ast.dump(source.tree, include_attributes=True) == before
    guarded = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.For) and "__flor_skipping__" in ast.dump(node.body[0])
    ]
    assert len(guarded) == len([site for site in loops if site.kind == "wrapped"])
    for node in guarded:
        del node.body[0]
    assert ast.dump(tree, include_attributes=True) == before


OBSERVED = "class Old:\n    pass\nt = Trainer(model, callbacks=[Old()])\nt.fit()\n"
MINE = "class Mine:\n    def end(self):\n        flor.log('x', 1)\n"


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        (OBSERVED, MINE + OBSERVED.replace("[Old()]", "[Old(), Mine()]"), 0),
        (OBSERVED, MINE + OBSERVED.replace("[Old()]", "[Mine(), Old()]"), 0),
        (OBSERVED.replace(", callbacks=[Old()]", ""), MINE + OBSERVED.replace("Old()", "Mine"), 0),
        (OBSERVED, MINE + OBSERVED.replace("t.fit()", "t.add_callback(Mine())\nt.fit()"), 0),
        (OBSERVED, MINE + OBSERVED.replace("[Old()]", "[Mine()]"), 1),  # Old is gone
        (OBSERVED, MINE + OBSERVED.replace("[Old()]", "[Old(), Other()]"), 1),
        (OBSERVED, MINE + OBSERVED.replace("model,", "Mine(),"), 1),
        (OBSERVED, OBSERVED.replace("[Old()]", "[Old(), Old()]"), 1),  # Old is the program's
    ],
)
def test_observers_of_added_classes_are_no_change(old, new, changes):
    found = compare(read_source("old.py", old), read_source("new.py", new))
    assert len(found.changed) == changes
    assert not found.disturbing
