"""Tables of all kinds go through the store and come back bit for bit."""

import datetime as dt
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse
from polars.testing import assert_frame_equal

from flor.errors import CaptureError, CorruptError
from flor.intermediate.forms import Key
from flor.intermediate.pipelines.tables import encode, is_table, table_of, without_index
from flor.intermediate.storage.store import IntermediateStore


@pytest.fixture(scope="module")
def through(tmp_path_factory):
    """A table through the store: as it is kept, and back."""
    with IntermediateStore.open(tmp_path_factory.mktemp("store"), create=True) as store:

        def back(value):
            table = encode(value)
            ids = np.arange(table.rows) * 3
            brief = without_index(table, ids)
            with store.writer(Key(table.content, "table", "data"), brief.form) as writer:
                writer.append(ids, brief.values)
            kept = store.find(model=table.content)[0]
            found = table_of(json.loads(json.dumps(brief.schema)), kept.read()[1], ids)
            assert encode(found).content == table.content
            return found

        yield back


def frame():
    none = pd.Series(["x", None, np.nan, "y"], dtype=object)
    return pd.DataFrame(
        {
            "int": [1, 2, 3, -4],
            "float": [1.5, np.nan, -0.0, np.inf],
            "half": np.array([1, 2, 3, 4], np.float16),
            "bool": [True, False, True, True],
            "text": ["b", None, "a", "ä"],
            "objects": none,
            "mixed": pd.Series([True, np.nan, "y", 7.25], dtype=object),
            "numbers": pd.Series([1, 1.0, np.float32(1), b"1"], dtype=object),
            "Int64": pd.array([1, None, 3, 4], dtype="Int64"),
            "Int8": pd.array([127, None, -128, 0], dtype="Int8"),
            "UInt8": pd.array([0, None, 255, 3], dtype="UInt8"),
            "boolean": pd.array([True, None, False, True], dtype="boolean"),
            "Float64": pd.array([1.5, None, np.nan, 0.0], dtype="Float64"),
            "string": pd.array(["q", None, "r", ""], dtype="string"),
            "category": pd.Categorical(["u", "v", None, "u"], ["v", "u", "w"], ordered=True),
            "intervals": pd.cut([1, 5, 9, 2], 3),
            "date": pd.to_datetime(["2020-01-01", None, "2021-01-01", "1999-12-31"]),
            "zone": pd.to_datetime(["2020-07-01", None, "2021-01-01", "2022-01-01"])
            .tz_localize("Europe/Berlin"),
            "span": pd.to_timedelta([1, 2, None, 3], unit="s"),
            "period": pd.period_range("2020-01", periods=4, freq="M"),
            "sparse": pd.arrays.SparseArray([0, 0, 1, 0]),
            "arrow": pd.Series([1, None, 3, 4], dtype="int64[pyarrow]"),
            "arrow text": pd.Series(["1", None, "3", "1"], dtype=pd.ArrowDtype(pa.string())),
            5: [1, 2, 3, 4],
        }
    )  # fmt: skip


FRAMES = {
    "all": lambda f: f,
    "empty": lambda f: f.iloc[:0],
    "filtered": lambda f: f.iloc[[3, 1]],
    "index is the row ids": lambda f: f.set_axis([0, 3, 6, 9]),
    "index of texts": lambda f: f[["int", "text"]].set_index("text"),
    "two levels": lambda f: f[["int", "float", "text"]].set_index(["text", "int"]),
    "index of dates": lambda f: f[["int", "date"]].set_index("date"),
    "columns twice": lambda f: f[["int", "float", "int"]],
    "columns of two levels": lambda f: pd.concat({"a": f[["int"]], "b": f[["text"]]}, axis=1),
    "no columns": lambda f: f[[]],
}


@pytest.mark.parametrize("name", FRAMES)
def test_pandas_frames(name, through):
    table = FRAMES[name](frame())
    pd.testing.assert_frame_equal(through(table), table, check_exact=True, check_freq=False)


def test_bits_of_floats(through):
    bits = np.array([0x7FF8000000000001, 0xFFF8000000000000, 1 << 63], np.uint64)
    found = through(pd.DataFrame({"a": bits.view(float)}))
    assert (found["a"].to_numpy().view(np.uint64) == bits).all()


def test_nullable_column_without_a_free_number(through):
    every = [*range(-128, 128), None]
    column = pd.Series(pd.array(every, dtype="Int8"), name="a")
    pd.testing.assert_series_equal(through(column), column)


def test_polars(through):
    day, hour = dt.date(2020, 1, 1), dt.datetime(2020, 1, 1, 5)
    table = pl.DataFrame(
        {
            "a": [1, None, 3], "s": ["x", None, "ä"], "f": [1.0, float("nan"), None],
            "b": [True, None, False], "d": [day, None, day], "t": [hour, None, hour],
        }
    ).with_columns(
        c=pl.col("s").cast(pl.Categorical), e=pl.col("s").cast(pl.Enum(["z", "x", "ä"])),
        z=pl.col("t").dt.replace_time_zone("Europe/Berlin"), span=pl.col("t") - pl.col("t"),
        time=pl.col("t").dt.time(), u=pl.col("a").cast(pl.UInt8),
    )  # fmt: skip
    for one in (table, table[:0], table[[2, 0]]):
        assert_frame_equal(through(one), one)
    assert through(table["s"]).to_list() == ["x", None, "ä"]


ARRAYS = {
    "matrix": np.arange(6.0).reshape(3, 2),
    "by columns": np.asfortranarray(np.arange(6, dtype="f4").reshape(3, 2)),
    "vector": np.arange(3, dtype=np.uint16),
    "texts": np.array(["a", "bb", ""]),
    "objects": np.array([["a", 1], [None, 2.5]], object),
    "images": np.arange(24, dtype="f4").reshape(2, 3, 4),
    "wide": np.arange(1200.0).reshape(2, 600),
    "records": np.array([(1, 2.0), (3, -0.0)], [("a", "i4"), ("b", "f8")]),
    "dates": np.array(["2020-01-01", "NaT"], "M8[D]"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name, through):
    value = ARRAYS[name]
    found = through(value)
    assert found.dtype == value.dtype and found.flags.c_contiguous == value.flags.c_contiguous
    np.testing.assert_array_equal(found, value)


def test_sparse_and_dicts(through):
    sparse = scipy.sparse.random_array((5, 4), density=0.5, format="csr", rng=0)
    found = through(sparse)
    assert type(found) is type(sparse) and found.format == "csr"
    assert all(
        np.array_equal(getattr(found, part), getattr(sparse, part))
        for part in ("data", "indices", "indptr")
    )
    columns = {"x": np.arange(3), "s": pd.Series(["a", None, "b"], index=[3, 1, 2])}
    found = through(columns)
    assert list(found) == ["x", "s"] and (found["x"] == columns["x"]).all()
    pd.testing.assert_series_equal(found["s"], columns["s"])


def test_what_is_no_table():
    assert not is_table({"a": np.arange(2), "b": np.arange(3)})
    assert not is_table([1, 2]) and not is_table({"a": 1}) and not is_table(np.float64(1))
    with pytest.raises(CaptureError, match="not a table"):
        encode([1, 2])
    with pytest.raises(CaptureError, match=r"'a' holds a set among its objects.*convert"):
        encode(pd.DataFrame({"a": pd.Series([{1}, {2}], dtype=object)}))
    with pytest.raises(CaptureError, match=r"'l' has the dtype List"):
        encode(pl.DataFrame({"l": [[1], [2]]}))
    with pytest.raises(CorruptError, match="another"):
        table_of({"kind": "another"}, {})


def test_content_is_the_values():
    table = frame()
    same = encode(table).content
    assert encode(table.copy()).content == same
    for changed in (
        table.assign(int=table["int"] + 1),
        table.rename(columns={"int": "other"}),
        table.astype({"int": "int32"}),
        table.iloc[::-1],
        table.set_axis([9, 8, 7, 6]),
    ):
        assert encode(changed).content != same
