"""Intermediates come back as they were written, or within the error that their copy states."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keptkit import RNG, images, keep, keep_table, mixed, same

from flor.errors import InvalidError
from flor.intermediate.forms import Key
from flor.intermediate.storage.blocks import TABLE_ROWS, table_cuts
from flor.intermediate.storage.catalogue import Catalogue, folder_of
from flor.intermediate.storage.store import IntermediateStore

CODES = ["exact", "half", "bf16", "affine8", "quantile3", "threshold90"]
POOLS = ["pool2", "poolmap", "pool3max", "pool2+affine8", "poolmapmax+half"]


@pytest.fixture
def store(tmp_path: Path):
    with IntermediateStore.open(tmp_path / "store", create=True) as opened:
        yield opened


# --- tensors


@pytest.mark.parametrize("code", CODES + POOLS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_no_value_is_farther_than_the_error_says(store, code, dtype):
    values = images(dtype=dtype)
    kept = keep(store, values, code)
    ids, back = kept.read()
    assert np.array_equal(ids, np.arange(len(values)))
    assert (back.shape, back.dtype) == (values.shape, values.dtype)
    assert np.abs(values.astype(float) - back).max() <= kept.error
    if code == "exact":
        assert same(back, values) and kept.error == 0
    if code == "affine8":
        assert (back[values == 0] == 0).all()
        assert kept.error <= values.max() / 255 / 2 * 1.01 + np.finfo(dtype).eps * 4


def test_pooling_is_the_mean_or_the_largest_of_a_cell(store):
    values = images(3, (2, 5, 4))
    back = keep(store, values, "pool2").read()[1]
    assert np.allclose(back[:, :, 0:2, 2:4], values[:, :, 0:2, 2:4].mean((2, 3), keepdims=True))
    assert np.allclose(back[:, :, 4, 0:2], values[:, :, 4, 0:2].mean(-1, keepdims=True))
    back = keep(store, values, "poolmapmax").read()[1]
    assert (back == values.max((2, 3), keepdims=True)).all()


def test_a_part_that_a_code_cannot_keep_is_exact(store):
    values = images(40, (3, 4, 4))
    values[7, 1, 2, 2] = np.nan
    values[9, 1, 0, 0] = -np.inf
    for code in ("affine8", "quantile8", "threshold"):
        kept = keep(store, values, code)
        back = kept.read()[1]
        assert same(back[:, 1], values[:, 1])
        assert np.abs(values[:, [0, 2]] - back[:, [0, 2]]).max() <= kept.error
    bounds = kept.bounds([16, 0])
    assert bounds.nans.tolist() == [[1, 0]] and bounds.low[0, 0] == -np.inf
    constant = np.zeros((4, 3), np.float32)
    constant[1, 2] = np.nan
    assert same(keep(store, constant, "affine8").read()[1], constant)
    large = np.full((4, 3), 1e5, np.float32)
    assert same(keep(store, large, "half").read()[1], large)
    huge = np.full((4, 3), 1e300)
    assert same(keep(store, huge, "affine8").read()[1], huge)


def test_rows_units_and_parts_are_what_the_whole_says(store):
    values = images(300, (4, 9, 10))
    for code in ("exact", "affine8", "pool2", "poolmap"):
        kept = keep(store, values, code)
        assert code != "exact" or len(kept.bounds([0]).rows) > 1
        ids, whole = kept.read()
        rows = [299, 3, 3, 180]
        assert same(kept.read(rows=rows)[1], whole[rows])
        assert kept.read(rows=rows)[0].tolist() == rows
        assert same(kept.read(rows=slice(250, 20, -7))[1], whole[250:20:-7])
        units = [0, 359, 95]
        flat = whole.reshape(300, -1)
        assert same(kept.read(units=units)[1], flat[:, units])
        assert same(kept.read(rows=rows, units=[95])[1], flat[rows][:, [95]])
        assert same(kept.read(rows=rows, parts=[3, 1])[1], whole[rows][:, [3, 1]])
        assert kept.read(rows=[])[1].shape == (0, 4, 9, 10)


@pytest.mark.parametrize("shape", [(), (1,), (130,), (3, 8)])
def test_tensors_of_other_shapes(store, shape):
    values = RNG.normal(size=(77, *shape)).astype(np.float32)
    for code in ("exact", "affine8"):
        kept = keep(store, values, code)
        back = kept.read()[1]
        assert back.shape == values.shape and np.abs(back - values).max() <= kept.error
        units = [0] if not shape else [math.prod(shape) - 1, 0]
        assert same(kept.read(units=units)[1], back.reshape(77, -1)[:, units])


def test_integers_stay_exact_under_any_code(store):
    values = RNG.integers(0, 50_000, (60, 12))
    assert same(keep(store, values, "affine8").read()[1], values)


def test_bounds_hold_the_true_values(store):
    values = images(500, (130,))
    kept = keep(store, values, "affine8")
    bounds = kept.bounds([5, 64, 129])
    for block, (first, rows) in enumerate(zip(bounds.first, bounds.rows, strict=True)):
        some = values[first : first + rows]
        for at, (begin, end) in enumerate([(0, 64), (64, 128), (128, 130)]):
            part = some[:, begin:end]
            assert bounds.low[block, at] == part.min()
            assert bounds.high[block, at] == part.max()
            assert bounds.zeros[block, at] == (part == 0).sum()
            back = kept.read(rows=slice(first, first + rows), units=range(begin, end))[1]
            assert np.abs(part - back).max() <= bounds.error[block, at] <= kept.error


def test_equal_values_are_stored_once(store):
    values = images(200)
    for code in ("exact", "affine8"):
        first = keep(store, values, code, Key("epoch 1", "frozen", "data"))
        again = keep(store, values, code, Key("epoch 2", "frozen", "data"), batch=33)
        assert first.nbytes > 10_000 and again.nbytes == 0
    assert len(store.find(layer="frozen")) == 4
    keep(store, values, "exact", Key("epoch 2", "frozen", "data"))  # again: replaced
    assert len(store.find(layer="frozen")) == 4


def test_equal_codes_of_other_values_keep_their_own_error(store):
    """The error of a copy is that of its own values, not of those that were coded alike first."""
    near = np.repeat(np.linspace(0, 255, 256, dtype=np.float32)[:, None], 4, axis=1)
    far = near.copy()
    far[100] += 0.4
    assert keep(store, near, "affine8", Key("a", "l", "d")).error < 1e-3
    kept = keep(store, far, "affine8", Key("b", "l", "d"))
    assert np.abs(kept.read()[1] - far).max() <= kept.error
    assert kept.error > 0.39


# --- tables


@pytest.mark.parametrize("rows", [0, 1, 700])
def test_every_column_reads_back_bit_equal(store, rows):
    columns = mixed(rows)
    kept = keep_table(store, columns, np.arange(rows) * 3)
    ids, back = kept.read()
    assert ids.tolist() == [3 * at for at in range(rows)]
    assert list(back) == list(columns)
    assert all(same(back[name], columns[name]) for name in columns)
    if rows > 1:
        some = kept.read(rows=[12, 3], units=["text", "price"])[1]
        assert list(some) == ["text", "price"]
        assert same(some["price"], columns["price"][[4, 1]])


def test_a_table_of_many_blocks_shares_what_a_filter_left(store):
    rows = 2 * TABLE_ROWS + 5000
    columns = {"a": RNG.normal(size=rows), "b": RNG.integers(0, 5, rows)}
    first = keep_table(store, columns, key=Key("p", "all", "d"))
    assert first.bounds("a").rows.tolist() == [TABLE_ROWS, TABLE_ROWS, 5000]
    stays = np.ones(rows, bool)
    stays[TABLE_ROWS + 10 :: 100] = False  # none of the first block
    ids = np.flatnonzero(stays)
    some = {name: values[stays] for name, values in columns.items()}
    kept = keep_table(store, some, ids, Key("p", "filtered", "d"))
    assert all(same(kept.read()[1][name], some[name]) for name in some)
    assert np.array_equal(kept.read(rows=ids[-3:])[0], ids[-3:])
    # The first block is shared; the others are differences of nothing to those of the first table.
    assert kept.nbytes < first.nbytes / 50
    with Catalogue(folder_of(store.layout), readonly=True).reading() as db:
        depths = db.execute("SELECT max(depth), count(*) FROM chunk").fetchone()
    assert depths == (1, 3 * 2 + 2 * 2)


def test_near_columns_are_stored_as_differences_of_bounded_depth(tmp_path):
    values = RNG.normal(size=20_000)
    with IntermediateStore.open(tmp_path / "s", create=True) as store:
        made = []
        for step in range(7):
            values = values.copy()
            values[step::97] += 1.0
            made.append((keep_table(store, {"p": values}, key=Key(str(step), "p", "d")), values))
        assert made[1][0].nbytes < made[0][0].nbytes / 4
    with IntermediateStore.open(tmp_path / "s") as store:
        for step, (_, expected) in enumerate(made):
            assert same(store.find(model=str(step))[0].read()[1]["p"], expected)
        with store._catalogue.reading() as db:
            assert db.execute("SELECT max(depth) FROM chunk").fetchone()[0] in (1, 2, 3)


def test_lossy_columns_state_their_error(store):
    columns = mixed(400)
    kept = keep_table(store, columns, code="half")
    back = kept.read()[1]
    assert same(back["id"], columns["id"]) and same(back["text"], columns["text"])
    assert 0 < np.abs(back["noise"] - columns["noise"]).max() <= kept.error


def test_row_ids_that_repeat_or_do_not_ascend(store):
    ids = np.array([5, 3, 5, 9])
    kept = keep_table(store, {"a": np.arange(4.0)}, ids)
    found, values = kept.read(rows=[5, 9, 5])
    assert found.tolist() == [5, 5, 9, 5, 5] and values["a"].tolist() == [0, 2, 3, 0, 2]


def test_a_sorted_table_shares_its_chunks_and_reads_in_its_order(store):
    columns = mixed(3000)
    first = keep_table(store, columns, key=Key("p", "plain", "d"))
    order = np.argsort(columns["noise"])
    by_noise = {name: values[order] for name, values in columns.items()}
    kept = keep_table(store, by_noise, order, Key("p", "sorted", "d"))
    assert first.nbytes > 0 and kept.nbytes == 0
    ids, back = kept.read()
    assert np.array_equal(ids, order)
    assert all(same(back[name], by_noise[name]) for name in columns)
    some = kept.read(rows=slice(100, 90, -3), units=["id"])[1]["id"]
    assert same(some, by_noise["id"][100:90:-3])
    assert same(kept.read(rows=order[[5, 2]], units="id")[1]["id"], by_noise["id"][[5, 2]])
    bounds = kept.bounds(["noise", "flag"])
    assert bounds.rows.tolist() == [3000] and kept.estimate() > 0
    assert bounds.low[0, 0] == by_noise["noise"][0]


@given(st.lists(st.integers(-3, 400_000), max_size=30))
def test_cuts_cover_all_rows(ids):
    array = np.repeat(np.array(sorted(ids), np.int64), 5000)
    cuts = table_cuts(array)
    assert cuts == sorted(set(cuts)) and (not len(array) or cuts[-1] == len(array))
    assert all(0 < step <= TABLE_ROWS for step in np.diff([0, *cuts]))


# --- any of it


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.integers(1, 5), max_size=3),
    st.sampled_from(["float32", "float64", "float16", "int16", "bool"]),
    st.sampled_from(CODES + POOLS),
    st.integers(0, 30),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
)
def test_any_tensor_under_any_code(tmp_path_factory, shape, dtype, code, rows, batch, seed):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(rows, *shape)) * 10.0 ** rng.integers(-8, 4)).astype(dtype)
    if dtype.startswith("f") and values.size:
        values.reshape(-1)[rng.integers(0, values.size)] = rng.choice([np.nan, np.inf, -0.0, 1])
    folder = tmp_path_factory.mktemp("any")
    with IntermediateStore.open(folder / "s", create=True) as store:
        if code.startswith("pool") and (len(shape) < 3 or not dtype.startswith("f")):
            with pytest.raises(InvalidError):
                keep(store, values, code, batch=batch)
            return
        kept = keep(store, values, code, ids=np.arange(rows) + 4, batch=batch)
        back = kept.read()[1]
        assert (back.shape, back.dtype) == (values.shape, values.dtype)
        if code == "exact" or not dtype.startswith("f"):
            assert same(back, values)
        finite = np.isfinite(values)
        apart = np.abs(values[finite].astype(float) - back[finite])
        assert not apart.size or (apart <= kept.error).all() or kept.error == np.inf


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.sampled_from(
            ["f2", "f4", "f8", "i1", "u8", "?", "c16", "M8[ns]", "m8[s]", "O", "U3", ">f8"]
        ),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 900),
    st.sampled_from(["ascending", "repeated", "shuffled", "sparse"]),
    st.sampled_from(["rounded", "noise", "few"]),
    st.integers(0, 2**32 - 1),
)
def test_any_table_and_what_is_made_of_it(tmp_path_factory, dtypes, rows, order, look, seed):
    """A table, some of its rows, it changed a little, it shuffled: all come back to the bit."""
    rng = np.random.default_rng(seed)
    numbers = {
        "rounded": lambda: np.round(rng.normal(size=rows) * 100, 1),
        "noise": lambda: rng.normal(size=rows) * 10.0 ** rng.integers(-4, 4),
        "few": lambda: rng.integers(0, 5, rows).astype(float),
    }[look]

    def column(dtype):
        if dtype == "O":
            return np.array(["a", None, "ß"], object)[rng.integers(0, 3, rows)]
        if dtype in ("?", "U3"):
            return numbers().astype(int).astype(dtype)
        with np.errstate(all="ignore"):
            values = numbers().astype("i8" if dtype[0] in "iuMm" else dtype).astype(dtype)
        if rows and dtype in ("f4", "f8"):
            values[rng.integers(0, rows, 5)] = [np.nan, np.inf, -0.0, 5e-324, 1e30]
        return values

    ids = {
        "ascending": np.arange(rows),
        "repeated": np.sort(rng.integers(0, 50, rows)),
        "shuffled": rng.permutation(rows),
        "sparse": np.arange(rows) * 100_000,
    }[order]
    tables = {"first": (ids, {str(at): column(dtype) for at, dtype in enumerate(dtypes)})}
    some, mixed_up = rng.random(rows) < 0.9, rng.permutation(rows)
    first = tables["first"][1]
    tables["some"] = (ids[some], {name: values[some] for name, values in first.items()})
    changed = {name: values.copy() for name, values in first.items()}
    for values in changed.values():
        values[::97] = values[:1] if rows else values
    tables["changed"] = (ids, changed)
    tables["mixed"] = (ids[mixed_up], {name: values[mixed_up] for name, values in first.items()})
    with IntermediateStore.open(tmp_path_factory.mktemp("any") / "s", create=True) as store:
        for name, (row_ids, columns) in tables.items():
            keep_table(store, columns, row_ids, Key("m", name, "d"))
        for name, (row_ids, columns) in tables.items():
            found, back = store.find(layer=name)[0].read()
            assert np.array_equal(found, row_ids)
            assert all(same(back[title], columns[title]) for title in columns)
