"""Smaller at the cost of exactness, by the user's choice: never used for what replay restores.

    kept = quantize(weights, "int8")
    kept.nbytes, kept.max_error          # 0.23 of float32; no value is farther off than this
    weights = kept.values()

Successive states: each as a difference to what the one before *decodes to*, so that errors do not
add up:

    first = quantize(states[0], "int8")
    second = quantize(states[1], "int4", base=first.values())
    second.values(base=first.values())

After M. Vartak et al., "MISTIQUE" (SIGMOD 2018), section 4.1. Thread-safe: functions and frozen
values only.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flor import _core
from flor.errors import InvalidError

Floats = NDArray[np.float32]
KINDS = "fp16, bf16, int2 to int8, affine8, quantile1 to quantile8, threshold, pool"


@dataclass(frozen=True)
class Quantized:
    """An array in fewer bytes.

    ``max_error`` is the largest absolute difference between a value and what it decodes to, over
    finite values, measured when it was made; NaN for ``threshold``, which keeps no magnitudes.
    """

    kind: str
    shape: tuple[int, ...]
    payload: bytes
    max_error: float
    has_base: bool = False
    parameter: float = 0.0

    @property
    def nbytes(self) -> int:
        """Bytes of the encoding."""
        return len(self.payload)

    def values(self, base: ArrayLike | None = None) -> Floats:
        """Return the decoded values as float32; ``base`` as it was given to :func:`quantize`.

        A pooled array has its pooled shape; a threshold gives 1.0 where a value was above.
        """
        if self.has_base != (base is not None):
            raise InvalidError(
                "this was quantized "
                + ("as a difference: give values() the same base" if self.has_base else "alone")
            )
        name, bits = _parse(self.kind)
        return _DECODERS[name](self, bits, None if base is None else _floats(base))


def quantize(
    values: ArrayLike,
    kind: str,
    *,
    base: ArrayLike | None = None,
    threshold: float | None = None,
    size: int | None = None,
) -> Quantized:
    """Encode float32 values of any shape in fewer bytes.

    ``kind``: ``fp16``, ``bf16``; ``int2`` to ``int8``: integers with a step per 8,192 values, which
    alone take a ``base`` (what an earlier encoding decodes to); ``affine8``: 8 bits between each
    channel's least and largest value, channels along the last axis, zeros stay zeros;
    ``quantile1`` to ``quantile8``: k bits, bins of equally many values; ``threshold``: one bit,
    above ``threshold`` or not; ``pool``: means of ``size`` × ``size`` over the last two axes, in
    float32.

    Raises InvalidError for an unknown kind, values that are not float32 or can't be represented.
    """
    name, bits = _parse(kind)
    if base is not None and name != "int":
        raise InvalidError(f"{kind} takes no base; int2 to int8 do")
    if (threshold is not None) != (name == "threshold") or (size is not None) != (name == "pool"):
        raise InvalidError(
            "threshold= belongs to 'threshold' and size= to 'pool', and both need it"
        )
    array = _floats(values)
    if name == "int":
        return _int(array, kind, bits, base)
    parameter = float(threshold if threshold is not None else size or 0)
    payload, decoded = _ENCODERS[name](array, bits, parameter)
    error = float("nan") if name == "threshold" else _largest(array, decoded)
    return Quantized(kind, array.shape, payload, error, parameter=parameter)


def _parse(kind: str) -> tuple[str, int]:
    name = kind.rstrip("0123456789") if kind not in ("fp16", "bf16") else kind
    digits = kind[len(name) :]
    bits = int(digits) if digits else 0
    allowed = {"int": range(2, 9), "quantile": range(1, 9), "affine": (8,)}.get(name, (0,))
    if bits not in allowed or name not in {"int", *_ENCODERS}:
        raise InvalidError(f"{kind!r} is not a way to quantize; there are {KINDS}")
    return name, bits


def _floats(values: ArrayLike) -> Floats:
    array = np.asarray(values)
    if array.dtype != np.float32:
        raise InvalidError(f"only float32 is quantized, not {array.dtype}; convert it first")
    return np.ascontiguousarray(array)


def _largest(array: Floats, decoded: Floats) -> float:
    with np.errstate(invalid="ignore"):
        off = np.abs(array.astype(np.float64) - decoded)
    finite = off[np.isfinite(array)]
    return float(finite.max()) if finite.size else 0.0


def _pack(array: NDArray[Any]) -> bytes:
    """Encode without loss, chunk by chunk; u64 bytes ahead."""
    raw = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    out = np.empty(_core.codec_bound(raw.nbytes), np.uint8)
    return struct.pack("<Q", raw.nbytes) + out[: _core.codec_encode(raw, out)].tobytes()


def _unpack(payload: bytes, dtype: Any) -> NDArray[Any]:
    out = np.empty(struct.unpack_from("<Q", payload)[0], np.uint8)
    _core.codec_decode(memoryview(payload)[8:], out)
    return out.view(dtype)


def _int(array: Floats, kind: str, bits: int, base: ArrayLike | None) -> Quantized:
    before = None if base is None else _floats(base)
    if before is not None and before.shape != array.shape:
        raise InvalidError(f"the base has shape {before.shape}, the values have {array.shape}")
    payload, error = _core.quantize(array, bits, before)
    return Quantized(kind, array.shape, payload, error, has_base=before is not None)


def _int_values(kept: Quantized, _bits: int, base: Floats | None) -> Floats:
    out = np.empty(kept.shape, np.float32)
    _core.dequantize(kept.payload, out, base)
    return out


def _fp16(array: Floats, _bits: int, _parameter: float) -> tuple[bytes, Floats]:
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.array_equal(np.isinf(half), np.isinf(array)):
        raise InvalidError("a value is beyond float16 (65504); use bf16, or scale the values")
    return _pack(half), half.astype(np.float32)


def _bf16(array: Floats, _bits: int, _parameter: float) -> tuple[bytes, Floats]:
    whole = array.view(np.uint32)
    rounded = (whole + np.uint32(0x7FFF) + (whole >> 16 & 1)) >> 16  # to the nearest, ties to even
    kept = np.where(np.isnan(array), whole >> 16 | 0x40, rounded).astype(np.uint16)
    return _pack(kept), _widen(kept)


def _widen(kept: NDArray[np.uint16]) -> Floats:
    wide: Floats = (kept.astype(np.uint32) << 16).view(np.float32)
    return wide


def _affine(array: Floats, _bits: int, _parameter: float) -> tuple[bytes, Floats]:
    if not array.size:
        return _pack(np.zeros(0, np.uint8)), array
    channels = array.shape[-1] if array.ndim else 1
    coded = np.empty(_core.affine_bytes(array.size, channels), np.uint8)
    if not np.isfinite(_core.affine_encode(array, channels, coded)):
        _all_finite(array, "affine8")
        raise InvalidError("affine8 can't keep a range that is no normal float32; fp16 and int8 do")
    return _pack(coded), affine_decode(coded, array.shape, channels)


def affine_decode(coded: Any, shape: tuple[int, ...], channels: int) -> Floats:
    """Return the values of the core's affine encoding, channels along the last axis or one."""
    values = np.empty(shape, np.float32)
    width = channels if channels > 1 else values.size
    rows = values.size // width if width else 0
    _core.affine_decode(coded, channels, values, rows, width, 0, width)
    return values


def _affine_values(kept: Quantized, _bits: int, _base: Floats | None) -> Floats:
    if not int(np.prod(kept.shape)):
        return np.zeros(kept.shape, np.float32)
    coded = _unpack(kept.payload, np.uint8)
    return affine_decode(coded, kept.shape, kept.shape[-1] if kept.shape else 1)


def _quantile(array: Floats, bits: int, _parameter: float) -> tuple[bytes, Floats]:
    _all_finite(array, f"quantile{bits}")
    flat, bins = array.reshape(-1), 1 << bits
    if flat.size == 0:
        return _pack(np.zeros(bins, np.float32)) + _pack(np.zeros(0, np.uint8)), array
    edges = np.quantile(flat, np.arange(1, bins) / bins).astype(np.float32)
    codes = np.searchsorted(edges, flat, side="right").astype(np.uint8)
    counts = np.bincount(codes, minlength=bins)
    sums = np.bincount(codes, weights=flat, minlength=bins)
    means = (sums / np.maximum(counts, 1)).astype(np.float32)
    return _pack(means) + _pack(codes), means[codes].reshape(array.shape)


def _quantile_values(kept: Quantized, bits: int, _base: Floats | None) -> Floats:
    head, rest = _two(kept.payload, 4 << bits)
    means: Floats = _unpack(head, np.float32)
    values: Floats = means[_unpack(rest, np.uint8)].reshape(kept.shape)
    return values


def _threshold(array: Floats, _bits: int, limit: float) -> tuple[bytes, Floats]:
    above = array.reshape(-1) > limit
    return _pack(np.packbits(above)), above.astype(np.float32)


def _threshold_values(kept: Quantized, _bits: int, _base: Floats | None) -> Floats:
    count = int(np.prod(kept.shape, dtype=np.int64))
    above = np.unpackbits(_unpack(kept.payload, np.uint8), count=count)
    values: Floats = above.astype(np.float32).reshape(kept.shape)
    return values


def _pool(array: Floats, _bits: int, size: float) -> tuple[bytes, Floats]:
    side = int(size)
    if array.ndim < 2 or side < 1:
        raise InvalidError("pool needs two axes or more, and a size of 1 or more")
    pooled = _means(_means(array, -1, side), -2, side)
    wide = np.repeat(np.repeat(pooled, side, axis=-1), side, axis=-2)
    return _pack(pooled), wide[..., : array.shape[-2], : array.shape[-1]]


def _means(array: Floats, axis: int, side: int) -> Floats:
    length = array.shape[axis]
    starts = np.arange(0, length, side)
    counts = np.minimum(side, length - starts).astype(np.float32)
    if axis == -2:
        counts = counts[:, None]
    means: Floats = (np.add.reduceat(array, starts, axis=axis) / counts).astype(np.float32)
    return means


def _pool_values(kept: Quantized, _bits: int, _base: Floats | None) -> Floats:
    side = int(kept.parameter)
    tail = tuple(-(-extent // side) for extent in kept.shape[-2:])
    pooled: Floats = _unpack(kept.payload, np.float32)
    return pooled.reshape((*kept.shape[:-2], *tail))


def _two(payload: bytes, head_bytes: int) -> tuple[bytes, bytes]:
    """Split what two calls of _pack gave, the first of so many decoded bytes."""
    length = 8
    for at in range(0, head_bytes, 1 << 16):
        del at
        length += 5 + struct.unpack_from("<I", payload, length + 1)[0]
    return payload[:length], payload[length:]


def _all_finite(array: Floats, kind: str) -> None:
    if not np.isfinite(array).all():
        raise InvalidError(f"{kind} can't keep NaN or infinity; int8, fp16 and bf16 do")


_ENCODERS: dict[str, Callable[[Floats, int, float], tuple[bytes, Floats]]] = {
    "fp16": _fp16,
    "bf16": _bf16,
    "affine": _affine,
    "quantile": _quantile,
    "threshold": _threshold,
    "pool": _pool,
}
_DECODERS: dict[str, Callable[[Quantized, int, Floats | None], Floats]] = {
    "int": _int_values,
    "fp16": lambda kept, _b, _s: (
        _unpack(kept.payload, np.float16).astype(np.float32).reshape(kept.shape)
    ),
    "bf16": lambda kept, _b, _s: _widen(_unpack(kept.payload, np.uint16)).reshape(kept.shape),
    "affine": _affine_values,
    "quantile": _quantile_values,
    "threshold": _threshold_values,
    "pool": _pool_values,
}
