"""Whatever a version's variables are called, and whatever else stands in it, a statement finds its
place.
"""

import ast
import keyword

from historykit import BASE, INNER, OUTER, ask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_history import placed, same

VARIABLES = (
    *("lr", "decay", "rng", "inputs", "targets", "gradient", "loss_of", "weights", "velocity"),
    *("epoch", "order", "step", "rows", "grad", "loss", "error", "w", "x", "y"),
)
PLAIN = BASE.replace('flor.loop("epoch", range(3))', "range(3)").replace(
    'flor.loop("step", range(4))', "range(4)"
)
LETTERS = st.text("abcdefghijk", min_size=2, max_size=5)
SETTINGS = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class _Rename(ast.NodeTransformer):
    def __init__(self, names):
        self.names = names

    def visit_Name(self, node):
        node.id = self.names.get(node.id, node.id)
        return node

    def visit_arg(self, node):
        node.arg = self.names.get(node.arg, node.arg)
        return node

    def visit_FunctionDef(self, node):
        node.name = self.names.get(node.name, node.name)
        return self.generic_visit(node)


def renamed(source, names):
    return ast.unparse(_Rename(names).visit(ast.parse(source)))


def free(name):
    return not keyword.iskeyword(name) and name not in (*VARIABLES, "np", "flor", "abs", "range")


@st.composite
def renamings(draw):
    chosen = draw(st.lists(st.sampled_from(VARIABLES), unique=True))
    names = draw(st.lists(LETTERS.filter(free), unique=True, min_size=len(chosen)))
    return dict(zip(chosen, names, strict=False))


@SETTINGS
@given(names=renamings(), base=st.sampled_from([BASE, PLAIN]))
def test_renamed_variables(names, base, tmp_path):
    text, found = placed(tmp_path, base, ask(base), renamed(base, names))
    assert same(text, renamed(ask(base), names)), found.refused


@st.composite
def unrelated(draw, base):
    """Statements that share no name with the program, by the line of it that they go before."""
    lines = [i for i, row in enumerate(base.splitlines()) if row.strip() and i > 2]
    places = draw(st.lists(st.sampled_from(lines), unique=True, max_size=6))
    kinds = (
        "{0} = {1}",
        'print("{0}", {1})',
        "{0} = [{1}] * 3",
        "{0} = {1} + 2 * {1}",
        "assert {1}",
    )
    texts = st.builds(str.format, st.sampled_from(kinds), LETTERS.filter(free), st.integers(1, 99))
    return {place: draw(texts) for place in places}


def with_rows(source, rows):
    out = []
    for number, row in enumerate(source.splitlines()):
        if number in rows:
            out.append(row[: len(row) - len(row.lstrip())] + rows[number])
        out.append(row)
    return "\n".join(out) + "\n"


@SETTINGS
@given(rows=unrelated(BASE))
def test_unrelated_statements(rows, tmp_path):
    text, found = placed(tmp_path, BASE, ask(BASE), with_rows(BASE, rows))
    assert not found.refused, found.refused
    kept = [row for row in text.splitlines() if row.strip() not in {INNER2, OUTER2}]
    assert "\n".join(kept) + "\n" == with_rows(BASE, rows), "more than the statements was added"
    order = [row.strip() for row in text.splitlines() if row.strip() not in rows.values()]
    wanted = [row.strip() for row in ask(BASE, INNER2, OUTER2).splitlines()]
    assert order == wanted


INNER2, OUTER2 = (ast.unparse(ast.parse(text)) for text in (INNER, OUTER))
