"""Plans are the cheapest that there are; what a query may ask is checked."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from intermediatekit import Network, Table

from flor.errors import InvalidError, LayerNotFoundError, RowNotFoundError
from flor.intermediate.forms import Form, Key
from flor.intermediate.planning.bounds import Scores, contenders
from flor.intermediate.planning.cost import Costs, Fit
from flor.intermediate.planning.cut import choose
from flor.intermediate.planning.ledger import HALF_LIFE, Ledger
from flor.intermediate.planning.plan import Planner, _frontier, _materialized, checked
from flor.intermediate.planning.rows import RowIndex
from flor.intermediate.planning.selection import select
from flor.intermediate.queries.dissect import enlarging
from flor.intermediate.queries.similarity import svcca

COSTS = st.integers(1, 50)


@st.composite
def graphs(draw):
    """A graph of up to 6 nodes, with costs, and targets."""
    count = draw(st.integers(1, 6))
    nodes = [f"n{at}" for at in range(count)]
    parents = {
        node: tuple(
            draw(st.lists(st.sampled_from(nodes[:at]), unique=True, max_size=3)) if at else ()
        )
        for at, node in enumerate(nodes)
    }
    stored = draw(st.lists(st.sampled_from(nodes), unique=True))
    read = {node: float(draw(COSTS)) for node in stored}
    compute = {node: float(draw(COSTS)) for node in nodes}
    targets = draw(st.lists(st.sampled_from(nodes), unique=True, min_size=1, max_size=2))
    return targets, parents, read, compute


def total(choice, read, compute):
    return sum(read[one] for one in choice.read) + sum(compute[one] for one in choice.computed)


def cheapest(targets, parents, read, compute):
    """Every way to give each node one of three states."""
    best = math.inf
    for states in itertools.product("rcn", repeat=len(parents)):
        state = dict(zip(parents, states, strict=True))
        there = {node for node in parents if state[node] != "n"}
        sound = (
            set(targets) <= there
            and all(node in read for node in parents if state[node] == "r")
            and all(set(parents[node]) <= there for node in parents if state[node] == "c")
        )
        if sound:
            cost = sum(read[n] for n in parents if state[n] == "r")
            best = min(best, cost + sum(compute[n] for n in parents if state[n] == "c"))
    return best


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_a_choice_is_the_cheapest_of_all(graph):
    targets, parents, read, compute = graph
    choice = choose(targets, parents, read, compute)
    assert choice.read <= read.keys()
    there = choice.read | choice.computed
    assert set(targets) <= there
    assert all(set(parents[node]) <= there for node in choice.computed)
    assert total(choice, read, compute) == pytest.approx(cheapest(targets, parents, read, compute))


def test_what_two_layers_share_is_computed_once():
    parents = {"base": (), "shared": ("base",), "left": ("shared",), "right": ("shared",)}
    computed = frozenset(parents)
    made = _materialized({"left", "right"}, parents, computed)
    assert made == {"left", "right", "shared"}
    assert _frontier("left", parents, computed, made) == ("shared",)
    assert _materialized({"left"}, parents, computed) == {"left"}


def test_a_target_on_the_way_to_another_serves_it():
    parents = {"base": (), "middle": ("base",), "end": ("middle",)}
    made = _materialized({"middle", "end"}, parents, frozenset(parents))
    assert made == {"middle", "end"}
    assert _frontier("end", parents, frozenset(parents), made) == ("middle",)


def test_a_plan_without_a_store_begins_at_the_input():
    network = Network()
    planner = Planner(None, network, Costs(Ledger()))
    plan = planner.plan([planner.want("vector", units=3)], None)
    assert [(step.way, step.layer, step.given) for step in plan.steps] == [("rerun", "vector", ())]
    assert plan.seconds == pytest.approx(network.seconds("vector", 300, set()))
    assert plan.actual is None


def test_costs_learn_an_overhead_and_a_factor():
    fit = Fit()
    for estimate in (0.001, 0.01, 0.1, 1.0) * 3:
        fit.add(estimate, 0.02 + 3 * estimate)
    for estimate in (0.005, 0.5):
        assert fit.predict(estimate) == pytest.approx(0.02 + 3 * estimate, rel=0.05)


def test_costs_never_fall_with_work_nor_below_zero():
    fit = Fit()
    for estimate, took in ((1.0, 0.5), (2.0, 0.1), (3.0, 0.01)):
        fit.add(estimate, took)
    assert 0 < fit.predict(1.0) <= fit.predict(100.0)


def test_a_small_excess_is_an_overhead_and_a_large_one_a_factor():
    small, large = Fit(), Fit()
    small.add(0.0001, 0.001)
    large.add(1.0, 3.0)
    assert small.predict(0.1) == pytest.approx(0.1009)
    assert large.predict(2.0) == pytest.approx(6.0)


def test_what_was_learned_outlives_the_process(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    costs, network = Costs(ledger), Network()
    for _ in range(3):
        costs.observe(costs.rerun(network, "maps", 300, frozenset()), 5.0)
    ledger.close()
    again = Costs(Ledger(tmp_path / "ledger"))
    assert again.rerun(network, "maps", 300, frozenset()).seconds == pytest.approx(5.0, rel=0.01)


def test_interest_halves():
    ledger, key, other = Ledger(), Key("m", "l", "d"), Key("m", "other", "d")
    ledger.asked(key, ["size"])
    assert ledger.interest(key, "size") == ledger.interest(key) == 1.0
    for _ in range(HALF_LIFE):
        ledger.asked(other, [])
    assert ledger.interest(key, "size") == pytest.approx(0.5)
    assert ledger.interest(key, "rooms") == 0.0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 3)), min_size=1, max_size=40),
    st.integers(1, 8),
    st.integers(1, 7),
)
def test_contenders_hold_all_of_the_least(rows, k, block):
    true = np.array([score for score, _ in rows], float)
    off = np.array([error for _, error in rows], float)
    seen = true + np.where(np.arange(len(rows)) % 2, off, -off)  # what the copy says
    ids = np.arange(len(rows))
    blocks = [ids[at : at + block] for at in range(0, len(ids), block)]
    lowest = np.array([true[one].min() for one in blocks])
    loaded = []

    def load(some):
        loaded.extend(some.tolist())
        mine = np.concatenate([blocks[one] for one in some])
        return Scores(mine, seen[mine] - off[mine], seen[mine] + off[mine])

    found = contenders(lowest, load, k)
    best = np.lexsort((ids, true))[:k]
    assert set(best.tolist()) <= set(found.ids.tolist())
    assert len(loaded) == len(set(loaded))


def test_rows_are_checked():
    rows = RowIndex(np.array([10, 30, 20]))
    assert rows.of(None) is None
    assert rows.of(30).tolist() == [30]
    assert rows.of(slice(1, 3)).tolist() == [30, 20]
    assert rows.of(np.array([True, False, True])).tolist() == [10, 20]
    assert rows.positions(np.array([20, 10])).tolist() == [2, 0]
    with pytest.raises(RowNotFoundError, match="no row 11, nor 1 others .* 10 to 30"):
        rows.of([10, 11, 12])
    with pytest.raises(RowNotFoundError, match="0 to 4"):
        RowIndex(np.arange(5)).of([5])
    with pytest.raises(InvalidError, match="float64"):
        rows.of([1.5])
    assert rows.aligned({10: "a", 20: "b", 30: "c"}, "by=").tolist() == ["a", "c", "b"]
    with pytest.raises(InvalidError, match="2 items, the data has 3 rows"):
        rows.aligned([1, 2], "by=")
    with pytest.raises(InvalidError, match="nothing of row 30"):
        rows.aligned({10: 1}, "by=")


@pytest.mark.parametrize(
    ("units", "shape", "flat"),
    [
        (None, (2, 3, 4), list(range(24))),
        (1, (3, 4), list(range(12, 24))),
        (-1, (3, 4), list(range(12, 24))),
        ((1, 2, 3), (), [23]),
        ((0, 1), (4,), [4, 5, 6, 7]),
        ([1, 0], (2, 3, 4), [*range(12, 24), *range(12)]),
        (slice(0, 1), (1, 3, 4), list(range(12))),
    ],
)
def test_units_of_maps(units, shape, flat):
    selection = select("conv", Form.tensor((2, 3, 4), "float32"), units)
    assert (selection.shape, selection.flat.tolist()) == (shape, flat)
    values = np.arange(48, dtype=np.float32).reshape(2, 2, 3, 4)
    want = values.reshape(2, 24)[:, flat].reshape(2, *shape)
    assert np.array_equal(selection.of(values), want)
    assert np.array_equal(selection.shaped(values.reshape(2, 24)[:, flat]), want)
    assert selection.row_bytes == 4 * len(flat)
    samples, counts = selection.samples()
    assert counts.sum() == len(flat) and set(samples.tolist()) <= set(flat)


def test_units_that_are_not_there():
    form = Form.tensor((2, 3, 4), "float32")
    for units in (2, (0, 3), [0, 9]):
        with pytest.raises(LayerNotFoundError, match=r"'conv' has no unit .*\(2, 3, 4\)"):
            select("conv", form, units)
    with pytest.raises(InvalidError, match="an index"):
        select("conv", form, "channel")
    with pytest.raises(LayerNotFoundError, match="'romms' .nearest: rooms"):
        select("kept", Table().form("kept"), "romms")


@pytest.mark.parametrize("accuracy", ["exact", "any", 0, 0.5])
def test_accuracies(accuracy):
    assert checked(accuracy) == accuracy


@pytest.mark.parametrize("accuracy", ["roughly", -1, None, True, float("nan")])
def test_what_is_no_accuracy(accuracy):
    with pytest.raises(InvalidError, match="accuracy is"):
        checked(accuracy)


def test_svcca_of_the_same_directions_is_one():
    rng = np.random.default_rng(0)
    left = rng.standard_normal((500, 6))
    turned = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    rho, sizes = svcca(left, 3 * left @ turned + 5, 1.0)
    assert sizes == (6, 6) and np.allclose(rho, 1)
    rho, _ = svcca(left, rng.standard_normal((500, 6)), 1.0)
    assert rho.mean() < 0.3


def test_svcca_agrees_with_the_definition():
    """SVD of each centred side to 99 % of its variance, then CCA of the scores."""
    rng = np.random.default_rng(1)
    left = rng.standard_normal((400, 8)) @ np.diag([9, 7, 5, 3, 2, 1, 0.2, 0.1])
    right = left @ rng.standard_normal((8, 5)) + rng.standard_normal((400, 5))

    def scores(side):
        u, s, _ = np.linalg.svd(side - side.mean(axis=0), full_matrices=False)
        return u[:, : np.searchsorted(np.cumsum(s**2) / np.sum(s**2), 0.99) + 1]

    one, two = scores(left), scores(right)
    want = np.linalg.svd(one.T @ two, compute_uv=False)
    rho, sizes = svcca(left, right, 0.99)
    assert sizes == (one.shape[1], two.shape[1])
    assert np.allclose(rho, want, atol=1e-9)


def test_enlarging_is_linear_between_centres():
    assert np.allclose(enlarging(4, 4), np.eye(4))
    assert np.allclose(enlarging(2, 4) @ [0.0, 1.0], [0, 0.25, 0.75, 1])
    assert np.allclose(enlarging(1, 3) @ [5.0], 5)
