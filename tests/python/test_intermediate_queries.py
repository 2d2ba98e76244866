"""Queries answer what NumPy answers on the exact values, from whatever is kept."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from intermediatekit import Network, Slow, Table

from flor.errors import ChangedError, InvalidError, LayerNotFoundError, RowNotFoundError
from flor.intermediate.forms import Key
from flor.intermediate.handle import Handle
from flor.intermediate.planning import access
from flor.intermediate.queries.reading import Read
from flor.intermediate.storage.store import IntermediateStore

CODES = ["half", "bf16", "affine8", "quantile2", "quantile8", "threshold90", "pool2", "poolmap"]


@pytest.fixture
def store(tmp_path):
    with IntermediateStore.open(tmp_path / "store", create=True) as opened:
        yield opened


def keep(store, computation, layer, code="exact", labels=None, rows=None):
    with_ids, values = computation.compute(layer, rows, {})
    labels = {"complete": rows is None, **(labels or {})}
    writer = store.writer(computation.key(layer), computation.form(layer), code, labels=labels)
    writer.append(with_ids, values)
    kept = writer.commit(seconds=1.0)
    computation.computed.clear()
    return kept


def fresh(store, computation):
    """A handle that has learned nothing: the network says that it is slow, and is believed."""
    (store.folder / "planner.sqlite").unlink(missing_ok=True)
    return Handle(store, computation, adaptive=False)


def exact(computation, layer):
    values = computation.compute(layer, None, {})[1]
    computation.computed.clear()
    return values


def best(values, ids, k, largest=True):
    order = np.lexsort((ids, -values if largest else values))
    return ids[order][:k], values[order][:k]


def test_read_in_all_its_ways(store):
    network = Network(cost=1.0)
    keep(store, network, "mixed")
    handle = Handle(store, network)
    want = exact(network, "mixed")
    for rows, at in ((None, slice(None)), ([7, 3], [7, 3]), (slice(5, 9), slice(5, 9)), (4, [4])):
        for units in (None, 2, (1, 3, 3), [4, 0], slice(1, 3)):
            found = handle.read("mixed", rows=rows, units=units)
            index = () if units is None else units if isinstance(units, tuple) else (units,)
            assert np.array_equal(found.numpy(), want[at][(slice(None), *index)])
            assert np.array_equal(found.row_id, np.arange(300)[at])
            assert found.error == 0.0
    assert network.computed == []
    found = handle.read("mixed", rows=[1, 2])
    assert found.plan.steps[0].way == "read" and found.plan.actual > 0
    assert found.arrow().column_names[0] == "row_id" and found.df().shape == (2, 96)
    assert found.torch().shape == (2, 6, 4, 4)


def test_what_is_not_kept_is_computed_from_the_nearest_ancestor(store):
    network = Network(cost=1.0)
    keep(store, network, "maps")
    handle = Handle(store, network, adaptive=False)
    found = handle.read("scores", rows=[5, 9])
    assert network.computed == [("scores", 2, ("maps",))]
    assert np.array_equal(found.numpy(), exact(network, "scores")[[5, 9]])
    assert [(step.way, step.layer) for step in found.plan.steps] == [
        ("read", "maps"),
        ("rerun", "scores"),
    ]
    assert "instead of: rerun from the input" in str(handle.explain())


def test_a_cheap_layer_is_computed_though_it_is_kept(store):
    network = Network(cost=0.0)
    keep(store, network, "maps")
    found = Handle(store, network).read("maps", rows=[5])
    assert [step.way for step in found.plan.steps] == ["rerun"]


def test_accuracy_chooses_the_copy(store):
    network = Network(cost=1.0)
    coarse = keep(store, network, "vector", "quantile2")
    fine = keep(store, network, "vector", "affine8")
    handle = Handle(store, network, adaptive=False)
    want = exact(network, "vector")
    within = handle.read("vector", accuracy=fine.error)
    assert within.plan.steps[0].kept.code == "affine8" and within.error == fine.error
    assert np.abs(within.numpy() - want).max() <= fine.error < coarse.error
    assert handle.read("vector", accuracy="any").error in (fine.error, coarse.error)
    assert network.computed == []
    assert np.array_equal(handle.read("vector").numpy(), want)
    assert network.computed == [("vector", 300, ())]
    handle.read("vector", rows=[1], accuracy=fine.error / 2)
    assert network.computed[1:] == [("vector", 1, ())]


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("reduce", ["max", "mean"])
def test_topk_and_above_are_exact_over_every_code(store, code, reduce):
    network = Network(rows=1500, cost=1.0)
    keep(store, network, "mixed", code)
    ids, values = network.row_ids, exact(network, "mixed")
    for unit in (0, 3, (2, 1, 1)):
        flat = values[(slice(None), *np.atleast_1d(unit))].reshape(1500, -1).astype(np.float64)
        one = flat.max(axis=1) if reduce == "max" else flat.mean(axis=1)
        for k, largest in ((1, True), (10, True), (10, False)):
            found = fresh(store, network).topk("mixed", unit, k, largest=largest, reduce=reduce)
            wanted = best(one, ids, k, largest)
            assert np.array_equal(found.row_id, wanted[0])
            assert np.array_equal(found.numpy(), wanted[1]) and found.error == 0
            if not code.startswith("pool"):
                assert found.plan.steps[0].way == "bounds"
                assert sum(rows for _, rows, _ in network.computed) == found.facts["undecided rows"]
            network.computed.clear()
        cut = float(np.quantile(one, 0.9))
        found = fresh(store, network).above("mixed", unit, cut, reduce=reduce)
        assert np.array_equal(found.row_id, ids[one > cut])
        assert np.all(np.abs(found.numpy() - one[one > cut]) <= found.error + 1e-6)
        network.computed.clear()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("metric", ["l2", "l1", "cosine"])
def test_knn_is_exact_over_every_code(store, code, metric):
    network = Network(rows=900, cost=1.0)
    layer = "mixed"
    keep(store, network, layer, code)
    values = exact(network, layer).reshape(900, -1).astype(np.float64)
    for row in (0, 777):
        if metric == "cosine":
            sizes = np.linalg.norm(values, axis=1) * np.linalg.norm(values[row])
            far = 1 - values @ values[row] / sizes
        else:
            far = np.linalg.norm(values - values[row], ord={"l1": 1, "l2": 2}[metric], axis=1)
        far[row] = np.inf
        found = fresh(store, network).knn(layer, row, 10, metric=metric)
        assert np.array_equal(found.row_id, best(far, network.row_ids, 10, largest=False)[0])
        assert np.allclose(found.numpy(), np.sort(far)[:10], rtol=1e-9, atol=1e-12)


def test_few_rows_are_left_undecided_by_a_fine_code(store):
    network = Network(rows=4000, cost=1.0)
    keep(store, network, "vector", "affine8")
    assert fresh(store, network).topk("vector", 5, 10).facts["undecided rows"] < 100
    assert fresh(store, network).knn("vector", 17, 10).facts["undecided rows"] < 400


def test_nan_is_never_among_the_top_and_infinity_is(store):
    network = Network(cost=1.0)
    ids, values = network.compute("vector", None, {})
    values[[3, 200], 5], values[[4, 150], 5] = np.nan, np.inf
    network.compute = lambda layer, rows, given: (
        (ids, values) if rows is None else (rows, values[rows])
    )
    for code in ("half", "affine8", "quantile8"):
        writer = store.writer(network.key("vector"), network.form("vector"), code)
        writer.append(ids, values)
        writer.commit()
        found = fresh(store, network).topk("vector", 5, 299)
        assert found.row_id[:2].tolist() == [4, 150] and len(found.row_id) == 298
        assert not np.isnan(found.numpy()).any()
        assert fresh(store, network).above("vector", 5, 1e30).row_id.tolist() == [4, 150]
        for kept in store.find(network.key("vector")):
            store.remove(kept)


def test_ties_are_in_the_order_of_row_ids(store):
    network = Network(cost=1.0)
    ids = network.row_ids
    values = np.repeat(np.float32([3, 1, 2]), 100)[:, None] * np.ones(70, np.float32)
    network.compute = lambda layer, rows, given: (
        (ids, values) if rows is None else (rows, values[rows])
    )
    writer = store.writer(network.key("vector"), network.form("vector"), "affine8")
    writer.append(ids, values)
    writer.commit()
    found = Handle(store, network).topk("vector", 0, 120)
    assert found.row_id.tolist() == [*range(100), *range(200, 220)]


def test_a_copy_that_is_not_of_this_model_is_noticed(store):
    network, other = Network(cost=1.0), Network(seed=1)
    ids, values = other.compute("vector", None, {})
    writer = store.writer(network.key("vector"), network.form("vector"), "affine8")
    writer.append(ids, values)
    writer.commit()
    with pytest.raises(ChangedError, match="its kept copy rules out"):
        Handle(store, network).topk("vector", 3)


def test_differences_distributions_and_correlations(store):
    one, two = Network(), Network(seed=1)
    mine, theirs = Handle(store, one), Handle(store, two)
    a, b = exact(one, "vector"), exact(two, "vector")
    found = mine.col_diff(theirs, "vector", 4)
    assert np.array_equal(found.numpy(), a[:, 4].astype(float) - b[:, 4])
    top = mine.col_diff(theirs, "vector", 4, k=5)
    assert np.array_equal(
        top.row_id, best(np.abs(a[:, 4].astype(float) - b[:, 4]), one.row_ids, 5)[0]
    )
    assert mine.col_diff(mine, "vector").facts["rows that differ"] == 0
    spread = mine.col_dist("vector", 4, bins=7)
    assert np.array_equal(spread.numpy(), np.histogram(a[:, 4].astype(float), 7)[0])
    assert spread.facts["zeros"] == (a[:, 4] == 0).sum()
    rows = mine.row_diff("vector", 3, 9)
    assert np.array_equal(rows.numpy(), a[3].astype(float) - a[9])
    with np.errstate(invalid="ignore", divide="ignore"):
        want = np.corrcoef(a[:, :8].astype(float).T)
    assert np.allclose(mine.corr("vector", slice(0, 8)).numpy(), want, equal_nan=True)
    target = np.arange(300)
    want = [np.corrcoef(a[:, unit].astype(float), target)[0, 1] for unit in (1, 2)]
    assert np.allclose(mine.corr("vector", [1, 2], target).numpy(), want)
    assert mine.point("vector", 7, 4).item() == a[7, 4]
    assert 0 < mine.svcca("vector", theirs).item() <= 1
    assert mine.svcca("maps", other_layer="maps").item() == pytest.approx(1)


def test_means_by_class_and_overlap_with_concepts(store, tmp_path):
    network = Network()
    handle = Handle(store, network)
    maps = exact(network, "maps")
    labels = network.row_ids % 3
    means = handle.vis("maps", by=labels)
    assert means.index[1].tolist() == [0, 1, 2]
    for label in range(3):
        assert np.allclose(means.numpy()[label], maps[labels == label].mean(axis=0), atol=1e-6)
    concepts = {"left": np.zeros((300, 8, 8), bool), "all": np.ones((300, 8, 8), bool)}
    concepts["left"][:, :, :4] = True
    found = handle.netdissect("maps", concepts, part=0.1, units=[2, 0])
    assert found.numpy().shape == (2, 2) and found.index[1].tolist() == [2, 0]
    large = np.kron(maps[:, 2], np.ones((2, 2)))  # the cells of which each is a corner
    assert 0 < found.numpy()[0, 1] < (large > 0).mean() + 0.1
    for result in (means, found, handle.col_dist("vector", 1), handle.read("vector", rows=[1])):
        result.plot(tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 1000


def test_netdissect_without_enlarging_is_intersection_over_union(store):
    network = Network()
    maps = exact(network, "maps").astype(float)
    rng = np.random.default_rng(2)
    mask = rng.random((300, 4, 4)) > 0.5
    found = Handle(store, network).netdissect("maps", {"some": mask}, part=0.2)
    for channel in range(6):
        active = maps[:, channel] > np.quantile(maps[:, channel], 0.8)
        want = (active & mask).sum() / (active | mask).sum()
        assert found.numpy()[channel, 0] == pytest.approx(want)


def test_two_layers_of_a_model_share_their_ancestors(store):
    network = Network()
    Handle(store, network, adaptive=False).svcca("vector", other_layer="scores")
    assert network.computed == [("vector", 300, ()), ("scores", 300, ("vector",))]


def test_columns_of_tables_and_rows_that_a_stage_drops(store):
    table = Table()
    table.computed = []
    handle = Handle(store, table)
    stay = table.columns["rooms"] > 2
    ids = table.row_ids[stay]
    for _ in range(3):  # computed, then read from what that left
        found = handle.read("kept", units="city")
        assert found.numpy().tolist() == table.columns["city"][stay].tolist()
        assert np.array_equal(found.row_id, ids)
    asked = table.row_ids[:20]
    found = handle.read("kept", rows=asked, units=["size", "rooms"])
    assert np.array_equal(found.row_id, ids[np.isin(ids, asked)])
    assert list(found.values) == ["size", "rooms"] and found.numpy().shape[1] == 2
    top = handle.topk("kept", "size", 3)
    assert np.array_equal(top.row_id, best(table.columns["size"][stay] * 10, ids, 3)[0])
    counts = handle.col_dist("scaled", "city").df()["value"]
    assert counts.sum() == 200 and set(counts.index) == {"Ghent", "Oslo", "Turin"}
    with pytest.raises(RowNotFoundError, match="does not reach 'kept'"):
        handle.point("kept", int(table.row_ids[~stay][0]), "size")
    with pytest.raises(InvalidError, match="numbers, and column 'city'"):
        handle.corr("kept")


def test_a_rerun_is_kept_when_it_pays_and_dropped_when_something_pays_more(store):
    network = Slow(cost=1e-5)
    handle = Handle(store, network, budget="100K", gamma=1e-9)
    assert handle.why("vector").startswith("nothing is kept")
    want = handle.read("vector").numpy()
    again = handle.read("vector")
    assert again.plan.steps[0].way == "read" and np.array_equal(again.numpy(), want)
    assert "kept: exact" in handle.why("vector") and "adaptively" in handle.why("vector")
    Handle(store, network, budget=20_000, gamma=1e-9).topk("scores", 1)
    assert [one.key.layer for one in store.find()] == ["scores"]
    assert "dropped: what saves more per byte" in handle.why("vector")


def test_handles_on_a_store_share_its_budget(store):
    Handle(store, Slow(seed=9, cost=1e-5), gamma=0).read("vector")
    one = store.find()[0].nbytes
    for handle in [
        Handle(store, Slow(seed=seed, cost=1e-5), budget=2.7 * one, gamma=0) for seed in range(4)
    ]:
        handle.read("vector")
    assert len(store.find()) == 2
    assert sum(kept.nbytes for kept in store.find()) <= 2.7 * one


def test_what_copies_share_counts_once(store):
    networks = [Slow(cost=1e-5), Slow(cost=1e-5), Slow(seed=1, cost=1e-5)]
    networks[1].key = lambda layer: Key("twin", layer, "data300")
    Handle(store, networks[0], gamma=0).read("vector")
    one = store.find()[0].nbytes
    for network in networks[1:]:
        Handle(store, network, gamma=0, budget=2.7 * one).read("vector")
    assert sorted(kept.nbytes > 0 for kept in store.find()) == [False, True, True]


def test_nothing_is_kept_beyond_the_budget(store):
    network = Network(cost=1.0)
    handle = Handle(store, network, budget=1000)
    handle.read("maps")
    assert store.find() == [] and "no room in 1000 bytes" in handle.why("maps")
    with pytest.raises(InvalidError, match="budget"):
        Handle(store, network, budget=-1)


def test_what_users_captured_is_never_dropped(store):
    network = Network(cost=1.0)
    keep(store, network, "maps")
    handle = Handle(store, network, budget=0)
    handle.read("vector")
    assert [one.key.layer for one in store.find()] == ["maps"]


def test_a_copy_that_is_removed_after_the_plan_was_made_is_done_without(store):
    network = Network(cost=1.0)
    keep(store, network, "vector")
    store.close()  # nobody writes, so that what is removed is gone at once

    class Racing(Read):
        def answer(self, jobs):
            for kept in other.find(network.key("vector")):
                other.remove(kept)
            return super().answer(jobs)

    with IntermediateStore.open(store.layout) as other:
        handle = Handle(other, network, adaptive=False)
        assert handle.explain("read", "vector").steps[0].way == "read"
        found = handle.ask(Racing("vector"))
        assert found.plan.steps[0].way == "rerun"
        assert np.array_equal(found.numpy(), exact(network, "vector"))


def test_a_query_that_fails_keeps_nothing(store):
    network = Network(cost=1.0)
    handle = Handle(store, network)
    with pytest.raises(InvalidError):
        handle.vis("vector", by=[1, 2])
    network.inputs = network.inputs[:10]
    with pytest.raises(IndexError):
        handle.read("vector")
    assert store.find() == []


def test_sql_over_tables_and_tensors(store):
    table, network = Table(), Network()
    table.computed = []
    handle = Handle(store, table)
    stay = table.columns["rooms"] > 2
    found = handle.sql("select city, avg(size) as mean from kept group by city order by city")
    want = {
        city: (table.columns["size"][stay & (table.columns["city"] == city)] * 10).mean()
        for city in np.unique(table.columns["city"])
    }
    assert found.values["city"].tolist() == list(want)
    assert np.allclose(found.values["mean"], list(want.values()))
    gone = handle.sql(
        "select scaled.row_id from scaled anti join kept using (row_id) order by row_id"
    )
    assert gone.row_id.tolist() == table.row_ids[~stay].tolist()
    assert handle.sql("select count(*) as rows from kept").item() == stay.sum()
    assert len(handle.sql("select * from scaled").values) == 4
    scores = Handle(store, network).sql("select row_id, values[3] as s from scores order by s desc")
    assert scores.row_id[0] == best(exact(network, "scores")[:, 2], network.row_ids, 1)[0][0]
    with pytest.raises(InvalidError, match="names no layer; there are scaled, kept"):
        handle.sql("select 1")
    with pytest.raises(InvalidError, match="the query failed"):
        handle.sql("select nothing from kept")


def test_many_rows_are_worked_on_in_pieces(store, monkeypatch):
    network = Network(cost=1e-7)
    whole = Handle(None, Network())
    monkeypatch.setattr(access, "CHUNK_ROWS", 64)
    monkeypatch.setattr(access, "CHUNK_BYTES", 1)
    handle = Handle(store, network, gamma=0)
    labels = network.row_ids % 4
    assert np.array_equal(handle.read("maps").numpy(), whole.read("maps").numpy())
    assert [rows for _, rows, _ in network.computed] == [64, 64, 64, 64, 44]
    (kept,) = store.find(network.key("maps"))
    assert kept.rows == 300 and np.array_equal(kept.read()[1], whole.read("maps").numpy())
    assert np.array_equal(handle.topk("vector", 3).row_id, whole.topk("vector", 3).row_id)
    means = [one.vis("vector", by=labels).numpy() for one in (handle, whole)]
    assert np.allclose(*means, rtol=1e-12)


def test_a_handle_is_asked_by_several_threads(store):
    network = Network(cost=1.0)
    keep(store, network, "vector", "affine8")
    handle = Handle(store, network)
    want = [Handle(None, network).topk("vector", unit).row_id.tolist() for unit in range(16)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda unit: handle.topk("vector", unit).row_id.tolist(), range(16)))
    assert found == want
    assert handle.why("vector").count("interest: 1") == 1


def test_explain_computes_nothing(store):
    network = Network()
    handle = Handle(store, network)
    plan = handle.explain("topk", "vector", 3, k=5)
    assert network.computed == [] and plan.actual is None and plan.seconds > 0
    assert "rerun" in str(plan) and "vector" in str(plan)
    with pytest.raises(InvalidError, match="no query 'top'; there are read"):
        handle.explain("top", "vector")


@pytest.mark.parametrize(
    ("ask", "error", "says"),
    [
        (lambda h: h.read("vectr"), LayerNotFoundError, "nearest: vector"),
        (lambda h: h.read("vector", rows=[300]), RowNotFoundError, "no row 300.* 0 to 299"),
        (lambda h: h.read("vector", units=70), LayerNotFoundError, "no unit 70"),
        (lambda h: h.read("vector", accuracy="fast"), InvalidError, "'exact', 'any'"),
        (lambda h: h.topk("vector", 1, 0), InvalidError, "1 or more"),
        (lambda h: h.topk("vector", 1, reduce="sum"), InvalidError, "'max' or 'mean'"),
        (lambda h: h.knn("vector", 1, metric="far"), InvalidError, "'l2', 'l1'"),
        (lambda h: h.svcca("vector"), InvalidError, "compares two"),
        (lambda h: h.netdissect("vector", {}), InvalidError, "needs maps"),
        (lambda h: h.netdissect("maps", {"a": np.zeros(300)}), InvalidError, "rows, height"),
    ],
)
def test_bad_questions_compute_nothing(ask, error, says):
    network = Network()
    with pytest.raises(error, match=says):
        ask(Handle(None, network))
    assert network.computed == []
