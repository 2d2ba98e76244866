"""SQL over a store: every value comes out as what it was, or the query is refused."""

import duckdb
import pytest
from querykit import at, make_store, new_replay, new_run, training

from flor import query
from flor.errors import InvalidError


@pytest.fixture(scope="module")
def layout(tmp_path_factory):
    layout = make_store(tmp_path_factory.mktemp("sql"))
    first = new_run(layout, training(), args={"lr": 0.1})
    new_run(layout, training(epochs=1), args={"lr": 0.2})
    new_replay(layout, first, [(at(epoch=1, step=s), "norm", 10.0 + s) for s in range(4)])
    return layout


@pytest.fixture
def ask(layout):
    def answer(text):
        return [tuple(row.values()) for row in query.sql(layout, text)]

    return answer


LOSSES = [1 / n for n in range(1, 13)]


def test_numbers_are_numbers(ask, layout):
    total = sum(LOSSES) + sum(LOSSES[:4])
    assert ask("SELECT avg(value) FROM logs WHERE name = 'loss'") == [(pytest.approx(total / 16),)]
    assert ask("SELECT sum(value), max(value) FROM logs WHERE name = 'seen'") == [(66 + 6, 11)]
    table = query.sql(layout, "SELECT value FROM logs WHERE name = 'seen'")
    assert str(table.arrow().schema.field("value").type) == "int64"
    assert ask("SELECT sum(value) FROM logs WHERE name IN ('seen', 'loss') AND rank = 0") == [
        (pytest.approx(72 + total),)
    ]


def test_strings_are_strings(ask):
    rows = ask("SELECT value FROM logs WHERE name = 'stdout' LIMIT 2")
    assert rows == [("step 0",), ("0.7",)]
    assert ask("SELECT count(*) FROM logs WHERE name = 'stdout' AND value LIKE 'step%'") == [(16,)]


def test_comparing_with_a_number_means_the_numbers(ask):
    rows = ask("SELECT name, value FROM logs WHERE value > 0.45 AND value < 1")
    assert {name for name, _ in rows} == {"loss", "acc"}
    assert all(type(value) is float for _, value in rows)
    assert ask("SELECT count(*) FROM logs WHERE value = 0.7") == [(1,)]  # acc, not stdout '0.7'
    assert ask("SELECT DISTINCT name FROM logs WHERE value BETWEEN 9.5 AND 10.5 ORDER BY 1") == [
        ("norm",),
        ("seen",),
    ]
    assert ask("SELECT DISTINCT name FROM logs WHERE value IN (10, 11) ORDER BY 1") == [
        ("norm",),
        ("seen",),
    ]


def test_comparing_with_a_string_means_the_strings(ask):
    assert ask("SELECT DISTINCT name, value FROM logs WHERE value = '0.7'") == [("stdout", "0.7")]
    assert ask("SELECT DISTINCT name FROM logs WHERE value LIKE 'hel%'") == [("start",)]
    assert ask("SELECT DISTINCT name FROM logs WHERE value = true") == [("best",)]


@pytest.mark.parametrize(
    "text",
    [
        "SELECT name, avg(value) FROM logs GROUP BY name",
        "SELECT max(value) FROM logs",
        "SELECT value FROM logs ORDER BY value",
        "SELECT value::VARCHAR FROM logs",
        "SELECT value || 'x' FROM logs",
        "SELECT value + 1 FROM logs",
        "SELECT a.name FROM logs a JOIN logs b ON a.value = b.value",
        "SELECT * FROM (SELECT * FROM logs) WHERE value > 0.5",
        "WITH x AS (SELECT * FROM logs) SELECT avg(value) FROM x",
        "SELECT CASE WHEN rank = 0 THEN value END FROM logs",
    ],
)
def test_uses_with_no_one_meaning_are_refused(ask, text):
    with pytest.raises(InvalidError, match=r"several kinds.*num \(numbers"):
        ask(text)


def test_num_and_text(ask):
    got = dict(ask("SELECT name, avg(num) FROM logs GROUP BY name"))
    assert got["loss"] is not None
    assert got["stdout"] is None
    assert ask("SELECT max(text) FROM logs WHERE name <> 'x' AND num IS NULL") == [("step 3",)]
    star = ask("SELECT * FROM logs LIMIT 1")
    assert len(star[0]) == 9  # the seven, epoch and step
    inner = "SELECT 1 FROM logs z WHERE z.value > 12.5 AND z.context = logs.context"
    star = ask(f"SELECT * FROM logs WHERE name = 'loss' AND run LIKE '%' AND EXISTS ({inner})")
    assert [len(row) for row in star] == [9]


def test_mixed_values_come_out_whole(ask):
    rows = ask("SELECT name, value FROM logs WHERE origin = 'record'")
    kinds = {name: type(value).__name__ for name, value in rows}
    assert kinds == {
        "start": "str",
        "config": "dict",
        "lr": "float",
        "loss": "float",
        "seen": "int",
        "stdout": "str",
        "acc": "float",
        "best": "bool",
        "confusion": "ndarray",
    }
    assert ask("SELECT count(value) FROM logs") == [(len(rows) + 4,)]
    assert ask("SELECT value FROM (SELECT * FROM logs) WHERE name = 'norm' LIMIT 1") == [(10.0,)]


def test_contexts(ask):
    assert ask(
        "SELECT epoch, count(*) FROM logs WHERE name = 'loss' AND context.step >= 2 "
        "GROUP BY epoch ORDER BY epoch"
    ) == [(0, 4), (1, 2), (2, 2)]
    assert ask("SELECT context FROM logs WHERE name = 'norm' LIMIT 1") == [
        ((("epoch", 1), ("step", 0)),)
    ]
    assert ask("SELECT context[1].index FROM logs WHERE name = 'norm' LIMIT 1") == [(1,)]


def test_each_mention_of_logs_has_its_own_type(ask):
    rows = ask(
        "SELECT a.value, b.value FROM logs a JOIN logs b ON a.run = b.run AND a.epoch = b.epoch "
        "AND a.step = b.step WHERE a.name = 'loss' AND b.name = 'norm' AND b.value > 12"
    )
    assert rows == [(1 / 8, 13.0)]
    rows = ask(
        "SELECT l.value, n.value FROM logs l LEFT JOIN logs n ON l.run = n.run "
        "AND l.context = n.context AND n.name = 'norm' WHERE l.name = 'loss' AND l.epoch = 1"
    )
    assert sorted(rows) == [(1 / 8, 13.0), (1 / 7, 12.0), (1 / 6, 11.0), (1 / 5, 10.0)]


def test_an_anti_join_keeps_the_rows_without_a_partner(ask):
    rows = ask(
        "SELECT count(*) FROM logs l LEFT JOIN logs n ON l.run = n.run AND l.context = n.context "
        "AND n.name = 'norm' WHERE l.name = 'loss' AND n.name IS NULL"
    )
    assert rows == [(12,)]


def test_joined_with_runs(ask):
    rows = ask(
        "SELECT r.args.lr, max(value) FROM logs JOIN runs r USING (run) "
        "WHERE name = 'acc' GROUP BY ALL ORDER BY 1"
    )
    assert rows == [(0.1, 0.7), (0.2, 0.5)]
    assert ask("SELECT count(*) FROM runs WHERE args.lr > 0.15") == [(1,)]


def test_wide(ask, layout):
    assert ask("SELECT epoch, step, loss, norm FROM wide WHERE norm > 11.5") == [
        (1, 2, 1 / 7, 12.0),
        (1, 3, 1 / 8, 13.0),
    ]
    assert "confusion" in query.sql(layout, "SELECT * FROM wide WHERE loss < 0.5").columns


@pytest.mark.skipif(duckdb.__version__.startswith("1.1."), reason="PIVOT loses views there")
def test_pivot(ask):
    rows = ask(
        "PIVOT (SELECT run, context, name, value FROM logs WHERE name IN ('loss', 'norm')) "
        "ON name USING first(value)"
    )
    assert len(rows) == 16


def test_other_statements(ask):
    assert ("value" in {row[0] for row in ask("DESCRIBE logs")}) is True
    assert ask("SELECT 1 AS one UNION ALL SELECT 2") == [(1,), (2,)]


def test_a_cte_named_logs_is_the_users(ask):
    assert ask("WITH logs AS (SELECT 1 AS value) SELECT value FROM logs") == [(1,)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nope FROM logs", "nope"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT 1; SELECT 2", "one SQL statement"),
        ("", "one SQL statement"),
    ],
)
def test_bad_sql_is_told(ask, text, words):
    with pytest.raises(InvalidError, match=words):
        ask(text)


def test_an_empty_store(tmp_path):
    layout = make_store(tmp_path)
    for table in ("logs", "runs", "checkpoints", "wide"):
        assert len(query.sql(layout, f"SELECT * FROM {table}")) == 0


def test_arrow_types_of_results(layout):
    table = query.sql(layout, "SELECT count(*) AS n, sum(value) AS s FROM logs WHERE name = 'seen'")
    assert [str(kind) for kind in table.arrow().schema.types] == ["int64", "int64"]
    assert list(table.df().columns) == ["n", "s"]
    assert table.pl()["s"].to_list() == [72]
