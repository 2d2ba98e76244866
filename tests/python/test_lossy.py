"""Lossy encodings: the stated error holds, what can't be kept is refused or kept exactly."""

import numpy as np
import pytest

from flor.errors import FlorError, InvalidError
from flor.lossy import quantize

KINDS = ["fp16", "bf16", "int8", "int4", "int2", "affine8", "quantile8", "quantile3"]
SHAPES = [(0, 3), (1,), (7, 5), (33, 64), (3, 50, 700)]


def sample(shape, seed=0):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.05).astype("f4")


def farthest(a, b):
    return np.abs(a.astype("f8") - b).max(initial=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_stated_error_holds_and_is_reached(kind, shape):
    values = sample(shape)
    kept = quantize(values, kind)
    back = kept.values()
    assert back.shape == shape and back.dtype == np.float32
    found = farthest(values, back)
    assert found <= kept.max_error * (1 + 1e-6)
    assert found >= kept.max_error * (1 - 1e-3)
    assert np.array_equal(back, kept.values())


@pytest.mark.parametrize(
    ("kind", "times"),
    [("fp16", 2), ("bf16", 2.7), ("int8", 4.4), ("int4", 9), ("affine8", 3.9), ("quantile3", 10)],
)
def test_how_much_smaller(kind, times):
    values = sample((512, 1024))
    assert quantize(values, kind).nbytes * times < values.nbytes


@pytest.mark.parametrize("bits", [4, 8])
def test_differences_with_feedback_stay_within_their_error(bits):
    """A hundred successive states: the last is no worse than the first."""
    rng, values = np.random.default_rng(1), sample(20_000)
    decoded, errors = quantize(values, "int8").values(), []
    for _ in range(100):
        values = values + (rng.standard_normal(values.shape) * 1e-4).astype("f4")
        kept = quantize(values, f"int{bits}", base=decoded)
        decoded = kept.values(base=decoded)
        errors.append(kept.max_error)
        assert farthest(values, decoded) <= kept.max_error * (1 + 1e-6)
    assert max(errors[1:]) < 6e-4 / (2 ** (bits - 1) - 1)


def test_special_values():
    values = sample((4, 2000))
    values[0, 0], values[1, 5], values[3, 1] = np.nan, np.inf, -np.inf
    for kind in ("fp16", "bf16", "int8"):
        back = quantize(values, kind).values()
        np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
        np.testing.assert_array_equal(np.isinf(back), np.isinf(values))
    for kind in ("affine8", "quantile4"):
        with pytest.raises(InvalidError, match="NaN"):
            quantize(values, kind)
    with pytest.raises(InvalidError, match="65504"):
        quantize(np.float32([1e6]), "fp16")


def test_threshold_and_pool():
    values = sample((3, 10, 11))
    np.testing.assert_array_equal(
        quantize(values, "threshold", threshold=0.02).values(), values > np.float32(0.02)
    )
    kept = quantize(values, "pool", size=4)
    pooled = kept.values()
    assert pooled.shape == (3, 3, 3)
    np.testing.assert_allclose(pooled[0, 2, 2], values[0, 8:, 8:].mean(), rtol=1e-5)
    wide = pooled.repeat(4, -1).repeat(4, -2)[:, :10, :11]
    assert farthest(values, wide) <= kept.max_error * (1 + 1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: quantize(np.zeros(3), "int8"),
        lambda: quantize(np.zeros(3, "f4"), "int9"),
        lambda: quantize(np.zeros(3, "f4"), "int"),
        lambda: quantize(np.zeros(3, "f4"), "zip"),
        lambda: quantize(np.zeros(3, "f4"), "fp16", base=np.zeros(3, "f4")),
        lambda: quantize(np.zeros(3, "f4"), "int8", base=np.zeros(4, "f4")),
        lambda: quantize(np.zeros(3, "f4"), "threshold"),
        lambda: quantize(np.zeros((3, 3), "f4"), "pool", size=0),
        lambda: quantize(np.zeros(3, "f4"), "int8").values(base=np.zeros(3, "f4")),
        lambda: quantize(np.zeros(3, "f4"), "int8", base=np.zeros(3, "f4")).values(),
        lambda: quantize(np.zeros(3, "f4"), "int8", base=np.ones(3, "f4")).values(
            base=np.ones(2, "f4")
        ),
    ],
)
def test_bad_input_is_told(call):
    with pytest.raises((FlorError, ValueError)):
        call()
