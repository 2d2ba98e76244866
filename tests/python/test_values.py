"""``flor.log`` of every kind of value, and what ``flor.logs`` gives back."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import flor
from flor.errors import InvalidError, SerializationError


class Level(enum.IntEnum):
    LOW = 3


@dataclass
class Thing:
    x: int


@pytest.fixture
def logged(tmp_path):
    """Return a function that logs values under one name and reads them again."""
    count = 0

    def through(*values):
        nonlocal count
        count += 1
        path = tmp_path / str(count)
        with flor.Logger(path) as log:
            for index, value in enumerate(values):
                assert log.log("v", value, step=index) is value
        return [row["value"] for row in flor.open(path).logs()]

    return through


@pytest.mark.parametrize(
    "value",
    [
        1, -(2**63), 2**63 - 1, 2**63, -(2**200), 0.1, -0.0, math.inf, 5e-324, True, False, None,
        "", "text", "é\n\x00", "x" * 70_000, "é" * 40_000, b"", b"\x00\xff",
        bytes(100_000), [], {}, [1, "a", None, [2.5]], {"a": {"b": [1]}}, list(range(50_000)),
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!r}",
)  # fmt: skip
def test_a_value_comes_back_equal_and_of_its_type(logged, value):
    (found,) = logged(value)
    assert found == value and type(found) is type(value)
    assert math.copysign(1, found) == math.copysign(1, value) if value == 0 else True


def test_nan_comes_back(logged):
    (found,) = logged(math.nan)
    assert math.isnan(found)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.array(2.5), 2.5),
        (torch.tensor(3), 3),
        (torch.tensor(0.5, dtype=torch.bfloat16), 0.5),
        (torch.tensor([1.5], requires_grad=True).sum(), 1.5),
        (Level.LOW, 3),
        ((1, 2), [1, 2]),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        ({"n": np.float64(1.5), "t": torch.ones(2)}, {"n": 1.5, "t": [1.0, 1.0]}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_libraries_make_becomes_plain(logged, value, expected):
    (found,) = logged(value)
    assert found == expected and type(found) is type(expected)


ARRAYS = [
    np.arange(6).reshape(2, 3),
    np.arange(12.0).reshape(3, 4)[::2, ::-1],
    np.asfortranarray(np.ones((2, 3), np.float16)),
    np.empty((0, 4)),
    np.array([True, False]),
    np.array([1 + 2j]),
    np.arange(3, dtype=">i2"),
    np.arange(200_000, dtype=np.uint8),
]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{value.dtype}{value.shape}")
def test_an_array_comes_back_bit_for_bit(logged, value):
    (found,) = logged(value)
    assert found.dtype == value.dtype and found.shape == value.shape
    np.testing.assert_array_equal(found, value)


def test_the_array_is_what_it_was_when_logged(tmp_path):
    value = np.zeros(3)
    with flor.Logger(tmp_path / "s") as log:
        log.log("v", value)
        value += 1
    assert next(iter(flor.open(tmp_path / "s").logs()))["value"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.int8, torch.bool, torch.complex64, torch.half]
)
def test_a_tensor_comes_back_as_an_array(logged, dtype):
    value = torch.arange(6).reshape(2, 3).t().to(dtype)
    (found,) = logged(value)
    assert found.tolist() == value.tolist()
    assert torch.from_numpy(found.copy()).dtype == dtype


def test_a_tensor_without_a_dtype_in_numpy_keeps_its_bits(logged):
    value = torch.tensor([1.5, -2.0, 3.140625]).bfloat16()
    (found,) = logged(value)
    assert np.asarray(found, dtype=np.float32).tolist() == value.float().tolist()


def test_a_tensor_of_eight_bits_comes_as_float32(logged):
    (found,) = logged(torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn))
    assert found.tolist() == [1.5, -2.0]


def test_sparse_and_grad_tensors_are_read_dense(logged):
    found = logged(torch.eye(2).to_sparse(), torch.ones(2, requires_grad=True) * 2)
    assert found[0].tolist() == [[1, 0], [0, 1]]
    assert found[1].tolist() == [2, 2]


def test_kinds_do_not_mix_up_in_one_name(logged):
    values = [1, 1.5, "1", None, True, [1], b"1"]
    found = logged(*values)
    assert found == values and [type(v) for v in found] == [type(v) for v in values]


@pytest.mark.parametrize(
    "value",
    [{1, 2}, "\ud800", "\ud800" * 70_000,
     object(), Thing(1), [object()], {"a": {3}}, {(1, 2): 3}, np.array([object()]),
     np.zeros(1, dtype=[("a", "i4")]), lambda: 1],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_can_t_be_stored_is_refused_by_name(tmp_path, value):
    with flor.Logger(tmp_path / "s") as log:
        with pytest.raises(SerializationError, match="'loss'") as told:
            log.log("loss", value)
        assert "log" in str(told.value).partition(";")[2]
        log.log("after", 1)
    assert [row["name"] for row in flor.open(tmp_path / "s").logs()] == ["after"]


def test_a_value_that_contains_itself_is_refused(tmp_path):
    endless: list[object] = []
    endless.append(endless)
    with flor.Logger(tmp_path / "s") as log, pytest.raises(SerializationError):
        log.log("v", endless)


@pytest.mark.parametrize("name", [3, None, b"x"])
def test_a_name_is_a_string(tmp_path, name):
    with flor.Logger(tmp_path / "s") as log, pytest.raises(InvalidError, match="name"):
        log.log(name, 1)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=20, deadline=None)
@given(values=st.lists(JSON, min_size=1, max_size=20))
def test_any_plain_values_come_back(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("s") / "s"
    with flor.Logger(path) as log:
        for index, value in enumerate(values):
            log.log("v", value, step=index)
    found = [row["value"] for row in flor.open(path).logs()]
    assert found == values and [type(v) for v in found] == [type(v) for v in values]
