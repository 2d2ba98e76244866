"""How values are kept: exactly, or in fewer bytes with a stated error.

    code  = [pool "+"] value | pool
    pool  = "pool" (side | "map") ["max"]       means, or maxima, of cells, of whole maps
    value = "exact" | "half" | "bf16" | "affine8" | "quantile" bits | "threshold" [percent]

``affine8``: 8 bits between the least and the largest value of each channel of a block; zeros stay
zeros. ``threshold``: one bit, above the percentile or not (99.5 without a number); it reads as the
mean of its side. What is pooled reads in its own shape, each cell filled with its value. Lossy
codes are for floating numbers: other parts, and parts of a block that a code can't represent (NaN,
infinities), are kept exactly.

After M. Vartak et al., "MISTIQUE" (SIGMOD 2018), section 4.1; affine8 takes the place of the
paper's quantiles. Thread-safe: functions and frozen values only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flor import _core
from flor.errors import InvalidError
from flor.lossy import Quantized, affine_decode, quantize

Array = NDArray[Any]
CODES = "exact, half, bf16, affine8, quantile1 to quantile8, threshold, pool2, poolmap, pool2+half"
_GRAMMAR = re.compile(
    r"(?:pool(?P<side>map|[1-9]\d*)(?P<how>max)?)?(?P<plus>\+)?"
    r"(?:(?P<value>exact|half|bf16|affine8|quantile|threshold)(?P<number>[\d.]+)?)?"
)


class Kind(IntEnum):
    """What the bytes of a chunk are; the numbers are in the catalogue."""

    EXACT = 0
    HALF = 1
    BF16 = 2
    AFFINE8 = 3
    QUANTILE = 4
    THRESHOLD = 5
    COLUMN = 6


@dataclass(frozen=True)
class Code:
    """A way to keep values. ``side``: of pooled cells; None: not pooled; 0: whole maps."""

    text: str
    value: str = "exact"
    side: int | None = None
    largest: bool = False
    number: float = 0.0  # bits of a quantile, percentile of a threshold

    @classmethod
    def parse(cls, text: str) -> Code:
        """Return the code of that name; raises InvalidError."""
        found = _GRAMMAR.fullmatch(text)
        pooled, value = (found["side"], found["value"]) if found else (None, None)
        if not found or bool(found["plus"]) != bool(pooled and value) or not (pooled or value):
            raise InvalidError(f"{text!r} is no code; there are {CODES}")
        side = None if pooled is None else 0 if pooled == "map" else int(pooled)
        number = _number(text, value, found["number"])
        return cls(text, value or "exact", side, bool(found["how"]), number)

    def shape(self, unit_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a row as it is kept. Raises InvalidError where there are no maps."""
        if self.side is None:
            return unit_shape
        if len(unit_shape) < 3:
            raise InvalidError(
                f"{self.text} pools maps, rows of (channels, height, width); these have the "
                f"shape {unit_shape}"
            )
        if self.side == 0:
            return unit_shape[:-2]
        return (*unit_shape[:-2], *(-(-extent // self.side) for extent in unit_shape[-2:]))

    def pool(self, values: Array) -> tuple[Array, float]:
        """Return values (rows, …, H, W) pooled, and how far one is from its cell's at most.

        With a code that does not pool: as they are.
        """
        if self.side is None:
            return values, 0.0
        singles = np.ascontiguousarray(values, np.float32)
        single = values.dtype == np.float32  # then there is nothing that it can't hold
        if not single and not (np.isfinite(singles) | ~np.isfinite(values)).all():
            raise InvalidError("pooling is for numbers that float32 can hold; some are larger")
        high, wide = values.shape[-2:]
        side = self.side or max(high, wide)
        shape = (*values.shape[:-2], -(-high // side), -(-wide // side))
        pooled = np.empty(shape, np.float32)
        error = _core.pool_maps(singles, high, wide, side, self.largest, pooled)
        kept = pooled.astype(values.dtype, copy=False)
        if not single:
            error += largest_difference(values, singles) + largest_difference(pooled, kept)
        return (kept[..., 0, 0] if self.side == 0 else kept), up(error)

    def unpool(self, values: Array, unit_shape: tuple[int, ...]) -> Array:
        """Return pooled values in the shape (rows, *unit_shape), cells filled."""
        if self.side is None:
            return values
        if self.side == 0:
            filled = np.empty((len(values), *unit_shape), values.dtype)
            filled[...] = values[..., None, None]
            return filled
        wide = np.repeat(np.repeat(values, self.side, axis=-1), self.side, axis=-2)
        return wide[..., : unit_shape[-2], : unit_shape[-1]]


def _number(text: str, value: str | None, digits: str | None) -> float:
    """Return the number behind a value's name, checked."""
    try:
        number = (
            float(digits) if digits else {"threshold": 99.5, "quantile": 8.0}.get(value or "", 0)
        )
    except ValueError:
        number = -1.0
    fits = {"quantile": number in range(1, 9), "threshold": 0 < number < 100}
    if not fits.get(value or "", not digits):
        raise InvalidError(f"{text!r} is no code; there are {CODES}")
    return number


@dataclass(frozen=True)
class Coded:
    """A part of a block, encoded. ``error``: the largest absolute one."""

    kind: Kind
    payload: Any  # a buffer
    error: float = 0.0


def encode(code: Code, values: Array, channels: int = 1) -> Coded:
    """Encode one part of a block, (rows, width), C-contiguous.

    ``channels``: 1, or the width: what of the columns has a range of its own under affine8.
    """
    if code.value == "exact" or values.dtype.kind != "f" or not values.size:
        return Coded(Kind.EXACT, values)
    with np.errstate(over="ignore"):
        singles = values.astype(np.float32, copy=False)
    if not (np.isfinite(singles) | ~np.isfinite(values)).all():
        return Coded(Kind.EXACT, values)  # beyond float32
    try:
        coded = _ENCODERS[code.value](code, singles, channels)
    except InvalidError:
        return Coded(Kind.EXACT, values)
    if values.dtype == np.float32:
        return coded
    decoded = decode(coded.kind, coded.payload, values.shape, values.dtype, channels)
    return Coded(coded.kind, coded.payload, largest_difference(values, decoded))


def decode(kind: int, payload: Any, shape: tuple[int, ...], dtype: Any, channels: int = 1) -> Array:
    """Return the values (rows, width) of a payload of :func:`encode`; raises CorruptError."""
    if kind == Kind.EXACT:
        return np.frombuffer(payload, dtype).reshape(shape)
    values = _DECODERS[Kind(kind)](bytes(payload), shape, channels)
    return values.astype(dtype, copy=False)


def largest_difference(values: Array, decoded: Array) -> float:
    """Return max |a - b| over finite values, rounded up."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(values.astype(np.float64) - decoded)
    finite = apart[np.isfinite(values)]
    return up(float(finite.max())) if finite.size else 0.0


def up(error: float) -> float:
    """Return an error with room for the roundings of the arithmetic that measured it."""
    return error * (1 + 2.0**-20)


def _by_lossy(kind: Kind, name: str) -> Callable[[Code, Array, int], Coded]:
    def encoded(_code: Code, values: Array, _channels: int) -> Coded:
        kept = quantize(values, name)
        return Coded(kind, kept.payload, up(kept.max_error))

    return encoded


def _of_lossy(name: str) -> Callable[[bytes, tuple[int, ...], int], Array]:
    return lambda payload, shape, _channels: Quantized(name, shape, payload, 0.0).values()


def _quantile(code: Code, values: Array, _channels: int) -> Coded:
    bits = int(code.number)
    kept = quantize(values, f"quantile{bits}")
    return Coded(Kind.QUANTILE, bytes([bits]) + kept.payload, up(kept.max_error))


def _quantile_values(payload: bytes, shape: tuple[int, ...], _channels: int) -> Array:
    return Quantized(f"quantile{payload[0]}", shape, payload[1:], 0.0).values()


def _affine8(_code: Code, values: Array, channels: int) -> Coded:
    payload = np.empty(_core.affine_bytes(values.size, channels), np.uint8)
    error = _core.affine_encode(values, channels, payload)
    if not np.isfinite(error):
        raise InvalidError("affine8 can't keep NaN, infinity or a range that is no normal float32")
    return Coded(Kind.AFFINE8, payload, up(error))


def _threshold(code: Code, values: Array, _channels: int) -> Coded:
    if not np.isfinite(values).all():
        raise InvalidError("threshold can't keep NaN or infinity")
    above = values > np.percentile(values, code.number)
    sides = [values[side].mean() if side.any() else 0 for side in (~above, above)]
    means = np.array(sides, np.float32)
    payload = means.tobytes() + np.packbits(above).tobytes()
    return Coded(Kind.THRESHOLD, payload, largest_difference(values, means[above.astype(int)]))


def _threshold_values(payload: bytes, shape: tuple[int, ...], _channels: int) -> Array:
    means = np.frombuffer(payload, np.float32, 2)
    count = int(np.prod(shape))
    values: Array = means[np.unpackbits(np.frombuffer(payload, np.uint8, offset=8), count=count)]
    return values.reshape(shape)


_ENCODERS: dict[str, Callable[[Code, Array, int], Coded]] = {
    "half": _by_lossy(Kind.HALF, "fp16"),
    "bf16": _by_lossy(Kind.BF16, "bf16"),
    "affine8": _affine8,
    "quantile": _quantile,
    "threshold": _threshold,
}
_DECODERS: dict[Kind, Callable[[bytes, tuple[int, ...], int], Array]] = {
    Kind.HALF: _of_lossy("fp16"),
    Kind.BF16: _of_lossy("bf16"),
    Kind.AFFINE8: affine_decode,
    Kind.QUANTILE: _quantile_values,
    Kind.THRESHOLD: _threshold_values,
}
