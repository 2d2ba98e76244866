"""The codecs by themselves, through the core's private functions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flor import _core
from flor.errors import CorruptError, InvalidError


def patterns(size):
    """Every pattern of bits, and long runs of the same."""
    return st.one_of(
        st.binary(min_size=size, max_size=size),
        st.binary(min_size=1, max_size=9).map(lambda few: (few * size)[:size]),
    )


DTYPES = ["f2", "f4", "f8", "i4", "i8", "u1", "i2", "?", "c8"]


def roundtrip(array, base=None):
    """Encode, decode and compare; return the encoded length."""
    raw = np.frombuffer(array.tobytes(), "u1")
    before = None if base is None else np.frombuffer(base.tobytes(), "u1")
    out = np.empty(_core.codec_bound(raw.nbytes), "u1")
    used = _core.codec_encode(raw, out, before)
    back = np.empty_like(raw)
    _core.codec_decode(out[:used].copy(), back, before)
    assert back.tobytes() == raw.tobytes()
    return used


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_array_comes_back_bit_for_bit(dtype, data):
    """NaNs with any payload, infinities, denormals and -0 among them."""
    size = np.dtype(dtype).itemsize * data.draw(st.integers(0, 300))
    array, base = (np.frombuffer(data.draw(patterns(size)), dtype) for _ in range(2))
    roundtrip(array)
    roundtrip(array, base)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("length", [1, 16_384, 40_001])
def test_floats_that_moved_a_little(dtype, length):
    rng = np.random.default_rng(length)
    before = rng.standard_normal(length).astype(dtype) * np.asarray(0.02, dtype)
    after = before + (rng.standard_normal(length) * 1e-5).astype(dtype)
    plain, delta = roundtrip(after), roundtrip(after, before)
    if length > 1:
        assert plain < after.nbytes and delta < 0.9 * plain


def test_bytes_without_structure_stay_as_they_are():
    noise = np.frombuffer(np.random.default_rng(0).bytes(200_000), "u1")
    assert roundtrip(noise) <= _core.codec_bound(noise.nbytes)
    assert roundtrip(np.zeros(1_000_000, "u1")) < 1000


def test_what_does_not_fit_is_told():
    raw = np.zeros(1000, "f4")
    out = np.empty(_core.codec_bound(raw.nbytes), "u1")
    with pytest.raises(InvalidError, match="room"):
        _core.codec_encode(raw, out[:10])
    with pytest.raises(InvalidError, match="base"):
        _core.codec_encode(raw, out, raw[:-1])
    used = _core.codec_encode(raw, out)
    with pytest.raises(CorruptError):
        _core.codec_decode(out[: used - 1].copy(), np.empty_like(raw))
    with pytest.raises(CorruptError):
        _core.codec_decode(out[:used].copy(), np.empty(500, "f4"))


def test_the_plain_kernels_are_always_there():
    assert _core.codec_kernels()[0] == "scalar"
