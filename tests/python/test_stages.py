"""Pipelines of functions: the graph of what ran, row ids, one stage run again alone."""

import functools
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

import flor
from flor.errors import (
    CaptureError,
    ChangedError,
    ClosedError,
    InvalidError,
    LayerNotFoundError,
    RowNotFoundError,
)
from flor.intermediate.pipelines.lineage import NEW, Rows, source_ids, trace
from flor.intermediate.pipelines.pipeline import graph_of
from flor.intermediate.pipelines.stage_archive import open_graph
from flor.intermediate.pipelines.stages import Recorder, recorded
from flor.intermediate.pipelines.tables import encode
from flor.intermediate.storage.store import IntermediateStore

ROWS = 300


def homes():
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "id": rng.permutation(5 * ROWS)[:ROWS],
            "kind": rng.choice(["x", "y", None], ROWS),
            "area": rng.normal(100, 30, ROWS).round(1),
            "rooms": rng.integers(1, 6, ROWS),
        }
    )
    table.loc[5, "area"] = np.nan
    return table


def sales():
    rng = np.random.default_rng(1)
    found = rng.choice(homes()["id"], ROWS - 50)
    return pd.DataFrame({"id": found, "price": rng.normal(size=ROWS - 50).round(2)})


# -- stages, as a user writes them ---------------------------------------------------------------


@flor.stage
def join(left, right):
    return left.merge(right, on="id", how="left")


@flor.stage
def fill(table, value=0.0):
    return table.assign(area=table["area"].fillna(value))


@flor.stage
def large(table, least):
    return table[table["area"] >= least]


@flor.stage
def matrix(table):
    return table[["area", "rooms"]].to_numpy(float)


@flor.stage
def centre(values):
    means = values.mean(axis=0)
    return values - means, {"means": Fit(means)}


@flor.stage(name="shift")
def move(values, fitted, factor):
    return fitted.means * factor + values


class Fit:
    loaded = 0

    def __init__(self, means):
        self.means = means

    def __setstate__(self, state):
        Fit.loaded += 1
        self.__dict__.update(state)


def pipeline(homes, sales, least=60.0):
    table = large(fill(join(sales, homes)), least)
    values, fitted = centre(matrix(table))
    return move(values, fitted["means"], 2.0)


@pytest.fixture
def store(tmp_path):
    with IntermediateStore.open(tmp_path, create=True) as store:
        yield store


def both():
    return {"homes": homes(), "sales": sales()}


# -- the graph -----------------------------------------------------------------------------------


def test_graph_and_values(store):
    graph = graph_of(pipeline, both(), store)
    assert graph.layers() == [
        "sales", "homes", "join", "fill", "large", "matrix", "centre.0", "shift",
    ]  # fmt: skip
    assert graph.parents("join") == ["sales", "homes"]
    assert graph.parents("shift") == ["centre.0"] and graph.parents("sales") == []
    table = join(sales(), homes())
    table = fill(table)
    expected = table[table["area"] >= 60.0]
    kept = store.find(graph.key("large"))[0]
    pd.testing.assert_frame_equal(graph.as_table("large", kept.read()[1]), expected)
    for layer in ("large", "matrix", "centre.0", "shift"):
        assert np.array_equal(graph.rows(layer), expected.index)
    kinds = graph.column("large", "kind", kept.read(units=["kind"])[1]["kind"])
    pd.testing.assert_extension_array_equal(kinds, expected["kind"].array)


def test_every_stage_runs_again_alone(store):
    graph = graph_of(pipeline, both(), store)
    for layer in graph.layers():
        ids, values = store.find(graph.key(layer))[0].read()
        parents = {name: store.find(graph.key(name))[0].read()[1] for name in graph.parents(layer)}
        for given in ({}, parents):
            again_ids, again = graph.compute(layer, None, given)
            assert np.array_equal(ids, again_ids)
            assert {n: c.tobytes() for n, c in again.items()} == {
                n: c.tobytes() for n, c in values.items()
            }
    some = graph.rows("shift")[[7, 3]]
    ids, values = graph.compute("shift", some, {})
    assert ids.tolist() == some.tolist()
    assert values["0"].tolist() == graph.compute("shift", None, {})[1]["0"][[7, 3]].tolist()


def test_given_tables_are_used():
    calls = []

    @flor.stage
    def first(table):
        calls.append("first")
        return table + 1

    @flor.stage
    def second(table):
        calls.append("second")
        return table * 2

    graph = graph_of(lambda table: second(first(table)), {"table": np.arange(6.0)}, None)
    del calls[:]
    kept = encode(np.arange(6.0) + 1).values
    graph.compute("second", None, {"first": kept})
    assert calls == ["second"]
    graph.table("first").call.seconds = 5.0
    assert graph.seconds("second", 6, {"first"}) < 5.0 < graph.seconds("second", 6, set())
    del calls[:]
    graph.compute("second", None, {"first": {"value": kept["value"][:2]}})  # some rows do not do
    assert calls == ["first", "second"]


def test_keys_are_of_code_parameters_and_data(store):
    def key(layer="large", data=None, **settings):
        return graph_of(functools.partial(pipeline, **settings), data or both(), None).key(layer)

    same = key()
    assert key() == same
    assert key(least=61.0) != same and key("fill", least=61.0) == key("fill")
    assert key(data={**both(), "homes": homes().iloc[1:]}) != same
    graph_of(pipeline, both(), store)
    before = len(store.find())
    graph_of(pipeline, both(), store)
    assert len(store.find()) == before


def test_outside_of_a_recording_a_stage_is_its_function():
    assert fill.__name__ == "fill" and fill(homes(), 1.0)["area"][5] == 1.0
    with recorded(Recorder("mine", None)) as graph:
        fill(homes(), 1.0)
    fill(homes(), 2.0)
    assert graph.layers() == ["table", "fill"]


def test_stages_inside_of_stages_are_part_of_them():
    @flor.stage
    def outer(table):
        return fill(table)

    assert graph_of(outer, homes(), None).layers() == ["table", "outer"]


# -- row ids -------------------------------------------------------------------------------------


def expected(table, mask):
    return np.flatnonzero(mask.to_numpy())


def cases():
    h, s = homes(), sales()
    small = h["rooms"] < 3
    every = np.arange(ROWS)
    order = h.sort_values("area")
    x = h[["id", "rooms"]].to_numpy(float)
    p = pl.from_pandas(h)
    yield "filled", h.fillna({"area": 0}), [h], every
    yield "filtered", h[small], [h], np.flatnonzero(small)
    yield "filtered, new index", h[small].reset_index(drop=True), [h], np.flatnonzero(small)
    yield "filtered and changed", h.loc[small, ["area"]] * 2, [h], np.flatnonzero(small)
    yield "sorted", order, [h], order.index
    yield "sorted, new index", order.reset_index(drop=True), [h], order.index
    yield "joined", s.merge(h, on="id", how="left"), [s, h], np.arange(len(s))
    inner = s.reset_index().merge(h[small], on="id")
    yield "inner join", inner.drop(columns="index"), [s, h], inner["index"]
    yield "put below", pd.concat([h[small], h[~small]]), [h[small], h[~small]], [
        *np.flatnonzero(small), *np.flatnonzero(~small),
    ]  # fmt: skip
    other = h.assign(id=h["id"] + 10_000)
    yield "same ids put below", pd.concat([h, other]), [h, other], [*every, *(every + (1 << 40))]
    yield "scaled", (h[["area", "rooms"]] - 1) / 7, [h], every
    yield "as an array", h[["area", "rooms"]].to_numpy(), [h], every
    yield "array filtered", x[x[:, 1] > 2], [x], np.flatnonzero(x[:, 1] > 2)
    yield "array sorted", x[np.argsort(x[:, 0])], [x], np.argsort(x[:, 0])
    yield "polars filtered", p.filter(pl.col("rooms") < 3), [p], np.flatnonzero(small)
    yield "polars sorted", p.sort("id"), [p], np.argsort(h["id"])
    yield "reversed dict", {"id": h["id"].to_numpy()[::-1]}, [h], every[::-1]
    yield "own index", h.set_axis(every * 7), [h], every
    yield "aggregated", h.groupby("rooms")["area"].mean().reset_index(), [h], NEW
    yield "drawn twice", h.iloc[[1, 1, 2]], [h], NEW


@pytest.mark.parametrize("case", cases(), ids=lambda case: case[0])
def test_rows_keep_their_ids(case):
    _, output, inputs, wanted = case
    tables = [encode(one) for one in inputs]
    found = trace([Rows(one, source_ids(one)) for one in tables], encode(output))
    if isinstance(wanted, str):
        assert found.how == NEW and found.ids.tolist() == list(range(len(found.ids)))
    else:
        assert found.ids.tolist() == np.asarray(wanted).tolist()


def test_rows_that_a_stage_moves_in_place():
    @flor.stage
    def turn(values):
        values[:] = values[::-1].copy()
        return values

    graph = graph_of(turn, np.arange(8.0).reshape(4, 2), None)
    assert graph.rows("turn").tolist() == [3, 2, 1, 0]
    with pytest.raises(ChangedError, match="the data 'values' changed"):
        graph.compute("turn", None, {})


def test_ids_of_sources():
    table = encode(homes().set_axis(np.arange(ROWS) * 2))
    assert source_ids(table).tolist() == list(range(0, 2 * ROWS, 2))
    assert source_ids(table, "id").tolist() == homes()["id"].tolist()
    assert source_ids(encode(np.zeros(3))).tolist() == [0, 1, 2]
    for column in ("rooms", "kind", "area"):
        with pytest.raises(InvalidError, match=f"'{column}' can't be the row ids"):
            source_ids(table, column)


# -- later, in another process -------------------------------------------------------------------


def test_opened_later_without_unpickling(store):
    graph = graph_of(pipeline, both(), store)
    Fit.loaded = 0
    later = open_graph(store, "pipeline")
    for layer in graph.layers():
        assert later.key(layer) == graph.key(layer)
        ids, values = later.compute(layer, None, {})  # what fitted is run again
        assert np.array_equal(ids, graph.rows(layer))
        assert encode(later.as_table(layer, values)).content == graph.table(layer).content
    assert later.parents("shift") == ["centre.0", "matrix"] and Fit.loaded == 0
    trusted = open_graph(store, "pipeline", trust=True)
    assert trusted.parents("shift") == ["centre.0"]
    trusted.compute("shift", None, {"centre.0": store.find(graph.key("centre.0"))[0].read()[1]})
    assert Fit.loaded == 1
    pickles = store.find(what="pickle")
    assert len(pickles) == 1
    assert isinstance(pickle.loads(pickles[0].read()[1]["bytes"].tobytes()), Fit)
    with pytest.raises(LayerNotFoundError, match=r"no pipeline 'pipelin'.*nearest: pipeline"):
        open_graph(store, "pipelin")


def test_code_that_changed_is_not_run(store, monkeypatch):
    graph_of(pipeline, both(), store)
    later = open_graph(store, "pipeline")
    monkeypatch.setattr(f"{__name__}.fill", lambda table, value=0.0: table)
    later.compute("join", None, {})
    with pytest.raises(ChangedError, match=r"'fill': the code of .*fill changed"):
        later.compute("fill", None, {})


# -- what goes wrong -----------------------------------------------------------------------------


def test_data_that_changed():
    data = both()
    graph = graph_of(pipeline, data, None)
    data["homes"].loc[0, "area"] = 1.0
    with pytest.raises(ChangedError, match="the data 'homes' changed since"):
        graph.compute("join", None, {})


def test_a_stage_that_is_no_function_of_its_arguments():
    rng = np.random.default_rng()

    @flor.stage
    def noisy(table):
        return table + rng.normal(size=len(table))

    graph = graph_of(noisy, np.zeros(5), None)
    with pytest.raises(ChangedError, match="stage 'noisy' gives other values than when it ran"):
        graph.compute("noisy", None, {})


def test_errors_name_what_is_wrong(store):
    graph = graph_of(pipeline, both(), store)
    with pytest.raises(LayerNotFoundError, match=r"no stage 'fil' ran in 'pipeline'.*fill"):
        graph.key("fil")
    with pytest.raises(LayerNotFoundError, match="no stage 'nothing"):
        graph_of(pipeline, both(), store, layers=["nothing*"])
    with pytest.raises(CaptureError, match="ran no stage: mark the functions"):
        graph_of(lambda table: table, homes(), None)
    with pytest.raises(InvalidError, match="Give data="):
        graph_of(pipeline, None, store)
    with pytest.raises(InvalidError, match="int is no model"):
        graph_of(5, homes(), store)

    @flor.stage
    def odd(table):
        return pd.DataFrame({"a": pd.Series([{1}], dtype=object)})

    with pytest.raises(CaptureError, match="'a' holds a set"):
        graph_of(odd, homes(), store)
    with pytest.raises(CaptureError, match="a LazyFrame has no rows yet: call .collect"):
        graph_of(flor.stage(lambda table: pl.from_pandas(table).lazy()), homes(), None)
    with pytest.raises(InvalidError, match="5 is no stage"):
        flor.stage(5)
    recorder = Recorder("mine", None)
    with recorded(recorder):
        fill(homes())
    with pytest.raises(ClosedError, match="'mine' has ended"):
        recorder.call("late", fill, (homes(),), {})


def test_only_some_are_kept(store):
    graph = graph_of(pipeline, both(), store, layers="f*")
    assert [one.key.layer for one in store.find(what="output")] == ["fill"]
    assert graph.compute("shift", None, {})[0].tolist() == graph.rows("shift").tolist()


# -- flor.intermediates --------------------------------------------------------------------------


def test_handle_of_a_pipeline(tmp_path):
    h = flor.intermediates(pipeline, data=both(), store=tmp_path)
    wanted = large(fill(join(sales(), homes())), 60.0)
    found = h.read("large", units=["kind", "area"])
    assert found.row_id.tolist() == wanted.index.tolist()
    pd.testing.assert_series_equal(
        found.df()["area"], wanted["area"], check_index=False, check_exact=True
    )
    assert found.df()["kind"].fillna("-").tolist() == wanted["kind"].fillna("-").tolist()
    most = h.topk("large", "area", 3)
    assert most.row_id.tolist() == wanted["area"].nlargest(3).index.tolist()
    later = flor.intermediates("pipeline", store=tmp_path)
    assert np.array_equal(later.read("shift").numpy(), h.read("shift").numpy())
    with pytest.raises(InvalidError, match="batch= belongs to networks"):
        flor.intermediates(pipeline, data=both(), store=tmp_path, batch=3)
    with pytest.raises(LayerNotFoundError, match="'fil'"):
        h.read("fil")
    with pytest.raises(RowNotFoundError, match="no row 100000"):
        h.read("fill", rows=[1, 100_000])


def test_missing_values_of_a_handle(tmp_path):
    table = pd.DataFrame(
        {
            "few": pd.array([1, None, 3, -5], dtype="Int64"),
            "many": pd.array([1, None, (1 << 60) + 1, 2], dtype="Int64"),
        }
    )
    h = flor.intermediates(flor.stage(lambda table: table), data=table, store=tmp_path)
    few = h.read("<lambda>", units="few").numpy()
    assert np.array_equal(few.ravel(), [1, np.nan, 3, -5], equal_nan=True)
    assert h.topk("<lambda>", "few", 2, largest=False).row_id.tolist() == [3, 0]
    assert h.read("<lambda>", units="many").numpy().ravel().tolist() == table["many"].tolist()


def test_handle_of_a_block(tmp_path):
    with flor.intermediates(store=tmp_path, row_id="id") as h:
        with pytest.raises(InvalidError, match="ask h after the block"):
            h.read("fill")
        fill(homes())
    assert h.read("fill", units="rooms").row_id.tolist() == homes()["id"].tolist()
    with pytest.raises(CaptureError, match="ran no stage"):
        with flor.intermediates(store=tmp_path):
            pass
