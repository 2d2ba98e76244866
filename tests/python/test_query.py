"""Logs, runs and checkpoints as tables."""

import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from querykit import at, log_items, make_store, new_replay, new_run, training

from flor import _core, query
from flor.errors import AmbiguousRunError, CorruptError, InvalidError, RunNotFoundError
from flor.query.kinds import BYTES, JSON, STRING
from flor.query.log_tables import long_logs
from flor.query.order import AFTER
from flor.query.where import matching_runs

pytestmark = pytest.mark.filterwarnings("ignore:.*:pytest.PytestUnraisableExceptionWarning")


@pytest.fixture
def layout(tmp_path):
    return make_store(tmp_path)


def rows_of(table, *columns):
    return [tuple(row[column] for column in columns) for row in table]


def test_an_empty_store_has_empty_tables(layout):
    for table in (query.logs(layout), query.runs(layout), query.checkpoints(layout)):
        assert len(table) == 0
        assert list(table) == []
        assert len(table.df()) == len(table.pl()) == 0
        assert "0 rows" in repr(table)
    assert query.logs(layout).columns == [
        "run",
        "rank",
        "origin",
        "context",
        "name",
        "value",
        "time",
    ]


def test_long_keeps_every_kind_and_the_order(layout):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    values = [None, True, -3, 2**62, 0.5, float("inf"), "text é", b"\x00\xff", {"a": [1]}, array]
    run = new_run(layout, [([], "x", value) for value in values])
    table = query.logs(layout)
    got = [row["value"] for row in table]
    for wanted, value in zip(values, got, strict=True):
        if isinstance(wanted, np.ndarray):
            assert value.dtype == wanted.dtype
            np.testing.assert_array_equal(value, wanted)
        else:
            assert type(value) is type(wanted)
            assert value == wanted
    row = next(iter(table))
    assert (row["run"], row["rank"], row["origin"], row["context"]) == (run, 0, "record", ())
    assert table.df()["value"].tolist()[:8] == values[:8]
    times = [row["time"] for row in table]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], pa.int64()),
        ([1, 2.5], pa.float64()),
        ([1, None], pa.int64()),
        ([True, False], pa.bool_()),
        (["a", "b"], pa.string()),
        ([b"a"], pa.binary()),
        ([None], pa.null()),
        ([[1], {"a": 2}], pa.string()),
    ],
)
def test_the_narrowest_exact_type(layout, values, kind):
    new_run(layout, [([], "x", value) for value in values])
    table = query.logs(layout, "x")
    assert table.arrow().schema.field("x").type == kind
    assert [row["x"] for row in table] == values


def test_ints_that_float64_can_not_hold_stay_ints(layout):
    new_run(layout, [([], "x", 2**53 + 1), ([], "x", 0.5)])
    assert [row["x"] for row in query.logs(layout, "x")] == [2**53 + 1, 0.5]


def test_wide_joins_record_and_replay_without_multiplying(layout):
    run = new_run(layout, training())
    new_replay(
        layout, run, [(at(epoch=e, step=s), "norm", e + s / 8) for e in (0, 2) for s in (1, 3)]
    )
    table = query.logs(layout, "loss", "norm", run=run)
    assert table.columns == ["run", "rank", "epoch", "step", "occurrence", "loss", "norm"]
    assert len(table) == 12
    by_place = {(row["epoch"], row["step"]): row for row in table}
    assert len(by_place) == 12
    assert by_place[2, 3]["norm"] == 2.375
    assert by_place[2, 3]["loss"] == 1 / 12
    assert by_place[1, 1]["norm"] is None
    schema = table.arrow().schema
    assert [schema.field(c).type for c in ("epoch", "step", "loss", "norm")] == [
        pa.int64(),
        pa.int64(),
        pa.float64(),
        pa.float64(),
    ]


def test_wide_rows_of_different_depths_and_occurrences(layout):
    new_run(layout, training(epochs=2, steps=1))
    table = query.logs(layout, "stdout", "acc", "lr")
    assert rows_of(table, "epoch", "step", "occurrence", "stdout", "acc", "lr") == [
        (0, None, 0, None, 0.5, 0.1),
        (0, 0, 0, "step 0", None, None),
        (0, 0, 1, "0.7", None, None),
        (1, None, 0, None, 0.6, 0.05),
        (1, 0, 0, "step 0", None, None),
        (1, 0, 1, "0.7", None, None),
    ]


def test_wide_over_runs_and_names_that_clash(layout):
    first = new_run(layout, [(at(loss=1), "loss", 0.5), (at(run=2), "loss", 0.25)])
    second = new_run(layout, [(at(epoch=0), "loss", 1)])
    table = query.logs(layout, "loss")
    assert table.columns == ["run", "rank", "loss_", "run_", "epoch", "occurrence", "loss"]
    assert rows_of(table, "run", "loss_", "run_", "epoch", "loss") == [
        (first, 1, None, None, 0.5),
        (first, None, 2, None, 0.25),
        (second, None, None, 0, 1.0),
    ]


def test_ranks_are_apart(layout):
    run = new_run(layout, [(at(step=0), "loss", 1.0)])
    log_items(layout.log_dir(run), [(at(step=0), "loss", 2.0)], rank=1)
    assert sorted(rows_of(query.logs(layout, "loss"), "rank", "loss")) == [(0, 1.0), (1, 2.0)]


def test_a_name_that_is_not_there(layout):
    new_run(layout, [([], "train_loss", 1.0)])
    with pytest.raises(InvalidError, match=r"'trainloss'.*train_loss"):
        query.logs(layout, "trainloss")


def test_unknown_runs(layout):
    new_run(layout)
    new_run(layout)
    with pytest.raises(RunNotFoundError):
        query.logs(layout, run="nope")
    with pytest.raises(AmbiguousRunError):
        query.logs(layout, run="2")


def test_replayed_rows_stand_where_they_would_have_been_logged(layout):
    items = [(at(epoch=e, step=s), "loss", 1.0) for e in range(2) for s in range(2)]
    items.insert(0, (at(epoch=0), "lr", 1.0))
    items.insert(3, (at(epoch=1), "lr", 1.0))
    run = new_run(layout, items)
    new_replay(
        layout,
        run,
        [
            (at(epoch=0, step=0), "norm", 1),
            (at(epoch=0, step=0), "second", 1),
            (at(epoch=0), "confusion", 1),
            (at(epoch=1, step=1), "norm", 1),
            (at(epoch=1), "confusion", 1),
        ],
    )
    told = [(row["context"], row["name"], row["origin"]) for row in query.logs(layout)]
    path = [tuple(i for _, i in context) + (name,) for context, name, _ in told]
    assert path == [
        (0, "lr"),
        (0, 0, "loss"),
        (0, 0, "norm"),
        (0, 0, "second"),
        (0, 1, "loss"),
        (0, "confusion"),
        (1, "lr"),
        (1, 0, "loss"),
        (1, 1, "loss"),
        (1, 1, "norm"),
        (1, "confusion"),
    ]
    assert [origin for _, name, origin in told if name in ("norm", "confusion")] == ["replay"] * 4


def test_replayed_rows_follow_what_their_replay_noted(layout):
    """Logged at the start of an iteration, or first of all: contexts alone would put them last."""
    items = [(at(epoch=e, step=s), "loss", 1.0) for e in range(2) for s in range(2)]
    run = new_run(layout, items)
    new_replay(
        layout,
        run,
        [
            ([], AFTER, []),
            ([], "first", 1),
            (at(epoch=0, step=1), AFTER, ["loss", 0]),
            (at(epoch=1), "begins", 1),
            ([], AFTER, None),
            (at(epoch=1), "ends", 1),
        ],
    )
    told = [(*[i for _, i in row["context"]], row["name"]) for row in query.logs(layout)]
    assert told == [
        ("first",),
        (0, 0, "loss"),
        (0, 1, "loss"),
        (1, "begins"),
        (1, 0, "loss"),
        (1, 1, "loss"),
        (1, "ends"),
    ]


def test_what_a_replay_logged_keeps_its_sequence(layout):
    """Nothing was recorded between: the sequence of the replay is all that tells."""
    run = new_run(layout, [([], "end", 1)])
    rows = [(at(epoch=0), "begins", 1), (at(epoch=0, step=0), "norm", 1), (at(epoch=0), "ends", 1)]
    new_replay(layout, run, rows)
    new_replay(layout, run, [(at(epoch=0, step=0), "other", 1)])
    names = [row["name"] for row in query.logs(layout)]
    assert [name for name in names if name != "other"] == ["begins", "norm", "ends", "end"]
    assert names.index("other") < names.index("ends")


def test_the_newest_replay_wins_and_no_replay_replaces_a_recorded_row(layout):
    run = new_run(layout, [(at(step=s), "loss", float(s)) for s in range(3)])
    new_replay(layout, run, [(at(step=1), "norm", 1), (at(step=2), "norm", 2)], started=1.0)
    new_replay(layout, run, [(at(step=1), "norm", 10), (at(step=1), "loss", 9.0)], started=2.0)
    table = query.logs(layout, "loss", "norm")
    assert rows_of(table, "step", "occurrence", "loss", "norm") == [
        (0, 0, 0.0, None),
        (1, 0, 1.0, 10),
        (1, 1, 9.0, None),
        (2, 0, 2.0, 2),
    ]


def test_diverged_and_unfinished_replays_show_only_when_asked(layout):
    run = new_run(layout, [([], "loss", 1.0)])
    new_replay(layout, run, [([], "seen", 1)], verdict="unverified")
    new_replay(layout, run, [([], "norm", 1)], verdict="diverged")
    log_items(layout.replays_dir(run) / "running" / "log", [([], "half", 1)])
    assert {row["name"] for row in query.logs(layout)} == {"loss", "seen"}
    assert {row["name"] for row in long_logs(layout, diverged=True)} == {"loss", "seen", "norm"}


def test_internal_names_are_hidden(layout):
    new_run(layout, [([], "__flor__state", 1), ([], "loss", 1.0)])
    assert [row["name"] for row in query.logs(layout)] == ["loss"]
    assert [row["name"] for row in long_logs(layout, internal=True)] == ["__flor__state", "loss"]


def test_filters(layout):
    run = new_run(layout, training(epochs=1, steps=1))
    new_replay(layout, run, [(at(epoch=0), "norm", 1)])
    assert [row["name"] for row in long_logs(layout, origin="replay")] == ["norm"]
    assert [row["value"] for row in long_logs(layout, names=["lr", "norm"])] == [0.1, 1.0]
    with pytest.raises(InvalidError):
        long_logs(layout, origin="elsewhere")


def test_frames_are_typed(layout):
    new_run(layout, training())
    table = query.logs(layout, "loss", "seen", "best", "stdout", "confusion", "config")
    frame = table.df()
    kinds = {name: str(kind) for name, kind in frame.dtypes.items()}
    assert (kinds["loss"], kinds["seen"], kinds["epoch"], kinds["rank"]) == (
        "float64",
        "Int64",
        "Int64",
        "int64",
    )
    assert kinds["best"] == "boolean"
    assert isinstance(frame, pd.DataFrame)
    confusion = [cell for cell in frame["confusion"] if cell is not None]
    np.testing.assert_array_equal(confusion[1], np.eye(3))
    config = frame["config"][0]
    assert config["layers"] == [1, 2]
    assert math.isnan(config["nan"])
    polars = query.logs(layout, "loss", "seen").pl()
    assert polars.schema["loss"] == pl.Float64
    assert polars.schema["seen"] == pl.Int64
    assert polars["loss"].sum() == pytest.approx(frame["loss"].sum())


def test_arrow_is_not_copied(layout):
    new_run(layout, training())
    table = query.logs(layout, "loss")
    assert table.arrow() is table.arrow()
    column = table.arrow()["loss"].chunk(0)
    assert column.to_numpy().ctypes.data == column.buffers()[1].address


def test_polars_missing(layout, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(InvalidError, match="polars"):
        query.logs(layout).pl()


def test_shown_for_people(layout):
    new_run(layout, [(at(step=s), "loss", s / 3) for s in range(40)])
    text = repr(query.logs(layout, "loss"))
    assert "40 rows" in text
    assert "…" in text
    assert "0.333333" in text
    html = query.logs(layout)._repr_html_()
    assert "<table>" in html
    assert "step=0" in html
    assert "&lt;" in query.logs(layout)._repr_html_().replace("step", "&lt;")


def test_runs(layout):
    first = new_run(layout, args={"lr": 1, "name": "a"}, argv=["--x", "1"], modules={"net": ["fc"]})
    second = new_run(layout, args={"lr": 0.5, "deep": True}, status="failed")
    table = query.runs(layout)
    assert table.columns == (
        "run script argv status started seconds version parent args modules inputs".split()
    )
    kind = table.arrow().schema.field("args").type
    assert {kind.field(i).name: kind.field(i).type for i in range(3)} == {
        "lr": pa.float64(),
        "name": pa.string(),
        "deep": pa.bool_(),
    }
    rows = list(table)
    assert [row["run"] for row in rows] == [first, second]
    assert rows[0]["args"] == {"lr": 1.0, "name": "a", "deep": None}
    assert rows[0]["argv"] == ["--x", "1"]
    assert rows[0]["modules"] == {"net": ["fc"]}
    assert rows[1]["status"] == "failed"


def test_args_of_several_types_stay_what_they_were(layout):
    for value in (1, "auto", [1, 2], None):
        new_run(layout, args={"x": value})
    assert [row["args"]["x"] for row in query.runs(layout)] == [1, "auto", [1, 2], None]


def test_a_damaged_log_is_told(layout):
    run = new_run(layout, training())
    segment = max(layout.log_dir(run).iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 0xFF
    segment.write_bytes(content)
    with pytest.raises(CorruptError):
        query.logs(layout)


def test_values_outside_of_the_log_are_fetched(layout):
    run = new_run(layout)
    store = _core.ChunkStore(str(layout.root))
    long = "é" * 100_000
    writer = _core.LogWriter(str(layout.log_dir(run)), "r0-2-0")
    for kind, value in [(STRING, long.encode()), (JSON, b'{"a": [1, 2]}'), (BYTES, b"\xff" * 9)]:
        writer.log_encoded("x", kind | 0x80, store.put(value), [])
    writer.log("x", "short", [])
    writer.close()
    store.close()
    values = [row["value"] for row in query.logs(layout)]
    assert values == [long, {"a": [1, 2]}, b"\xff" * 9, "short"]
    rows = query.sql(layout, "SELECT length(text) AS n FROM logs WHERE text LIKE 'é%'")
    assert [row["n"] for row in rows] == [100_000]


def test_where_means_runs(layout):
    first = new_run(layout, args={"lr": 0.1, "status": "odd"})
    second = new_run(layout, args={"lr": 0.5}, status="failed")
    assert matching_runs(layout, "lr > 0.2 or args.status = 'odd'") == [first, second]
    assert matching_runs(layout, "status = 'failed'") == [second]
    with pytest.raises(InvalidError, match=r"(?s)nope.*Columns: lr"):
        matching_runs(layout, "nope > 1")


def test_a_running_run_can_be_read(layout):
    run = new_run(layout, status="running")
    writer = _core.LogWriter(str(layout.log_dir(run)), "r0-2-0")
    writer.log("loss", 0.5, at(step=0))
    assert [row["loss"] for row in query.logs(layout, "loss")] == [0.5]
    writer.log("loss", 0.25, at(step=1))
    assert [row["loss"] for row in query.logs(layout, "loss")] == [0.5, 0.25]
    writer.close()
    assert len(query.logs(layout, "loss")) == 2
