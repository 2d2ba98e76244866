"""A column of a table as an array of fixed width, and back bit for bit.

What makes the user's column of the array again is *told* as JSON; None: the array is the column.
Texts, categories and other objects become codes into a dictionary, so that few bytes say them and
equal columns stay equal; of nullable columns the missing values become a number that no value has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flor.errors import CaptureError, CorruptError

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Told = list[Any] | None

_NONE, _NAN, _NA, _NAT = -1, -2, -3, -4
_TEMPORAL = ("Date", "Datetime", "Duration", "Time")


def encode_array(name: str, column: Array) -> tuple[Array, Told]:
    """Return a one-dimensional NumPy array as kept. Raises CaptureError."""
    if column.dtype.kind in "biufcmM":
        return column, None
    if column.dtype.kind in "US":
        found, codes = np.unique(column, return_inverse=True)
        return _narrow(codes.reshape(-1), len(found)), ["array", few(found)]
    if column.dtype.kind == "O":
        codes, values = _objects(name, column)
        return codes, ["objects", values]
    raise CaptureError(f"column {name!r} has the dtype {column.dtype}, which can't be kept")


def encode_pandas(name: str, column: pd.Series[Any]) -> tuple[Array, Told]:
    """Return a pandas column as kept. Raises CaptureError."""
    import pandas as pd

    kind = column.dtype
    if isinstance(kind, np.dtype):
        return encode_array(name, column.to_numpy())
    if isinstance(kind, pd.CategoricalDtype):
        codes = column.array.codes
        return np.asarray(codes), ["category", few(kind.categories), bool(kind.ordered)]
    if isinstance(kind, pd.StringDtype):
        codes, values = _texts(column.array)
        missing = "NA" if kind.na_value is pd.NA else "nan"
        return codes, ["string", kind.storage, missing, values]
    if isinstance(kind, pd.DatetimeTZDtype):
        return column.to_numpy(f"datetime64[{kind.unit}]"), ["zone", kind.unit, str(kind.tz)]
    if isinstance(kind, pd.PeriodDtype):
        return np.asarray(column.array.asi8), ["period", str(kind)]
    if isinstance(kind, pd.SparseDtype):
        array, told = encode_array(name, column.sparse.to_dense().to_numpy())
        return array, ["sparse", str(kind.subtype), few(np.array([kind.fill_value])), told]
    if isinstance(kind, pd.api.extensions.ExtensionDtype) and hasattr(column.array, "_mask"):
        array, sentinel = _masked(column.array._data, column.array._mask)
        return array, ["masked", kind.name, sentinel]
    if isinstance(kind, pd.ArrowDtype):
        return _arrow(name, column)
    raise CaptureError(f"column {name!r} has the dtype {kind}, which can't be kept: convert it")


def _arrow(name: str, column: Any) -> tuple[Array, Told]:
    """Return a column of pandas that Arrow holds: numbers, truth values or texts."""
    kind = column.dtype
    title = str(kind.pyarrow_dtype)
    if title in ("string", "large_string"):
        codes, values = _texts(column.array)
        return codes, ["arrow texts", title, values]
    if kind.numpy_dtype.kind not in "biuf":
        raise CaptureError(f"column {name!r} has the dtype {kind}, which can't be kept: convert it")
    mask = column.isna().to_numpy(bool)
    data = column.to_numpy(kind.numpy_dtype, na_value=kind.numpy_dtype.type(0))
    array, sentinel = _masked(data, mask)
    return array, ["arrow", title, sentinel]


def encode_polars(name: str, column: Any) -> tuple[Array, Told]:
    """Return a polars column as kept. Raises CaptureError."""
    import polars as pl

    kind = column.dtype
    title = str(kind.base_type())
    if kind in (pl.String, pl.Categorical, pl.Enum):
        texts = column.cast(pl.String)
        values = texts.drop_nulls().unique().sort()
        codes = texts.cast(pl.Enum(values)).to_physical().cast(pl.Int64).fill_null(_NONE)
        listed = kind.categories.to_list() if kind == pl.Enum else []
        return _narrow(codes.to_numpy(), len(values)), ["texts", title, listed, values.to_list()]
    if not (kind.is_numeric() or kind == pl.Boolean or title in _TEMPORAL) or kind.is_decimal():
        raise CaptureError(f"column {name!r} has the dtype {kind}, which can't be kept: convert it")
    mask = column.is_null().to_numpy()
    whole = column.to_physical()
    filled = whole.fill_null(False if kind == pl.Boolean else 0).to_numpy()
    array, sentinel = _masked(filled, mask)
    extra = [getattr(kind, "time_unit", None), getattr(kind, "time_zone", None)]
    return array, ["polars", title, extra, sentinel]


def decode(array: Array, told: Told) -> Any:
    """Return the column: an array, or an array of pandas, or a series of polars.

    Raises CorruptError for what no :func:`encode_array` and its like told.
    """
    if told is None:
        return array
    way = _DECODERS.get(told[0])
    if way is None:
        raise CorruptError(f"a column is kept as {told[0]!r}, which this flor does not know")
    return way(array, *told[1:])


def few(values: Any) -> list[Any]:
    """Return few values as JSON: labels of columns, categories, a dictionary."""
    import pandas as pd

    if isinstance(values, pd.MultiIndex):
        levels = [few(values.get_level_values(at)) for at in range(values.nlevels)]
        return ["levels", levels]
    if isinstance(values, pd.IntervalIndex):
        return ["intervals", few(values.left), few(values.right), values.closed]
    kind = values.dtype
    if isinstance(kind, pd.StringDtype):
        texts = [None if one is kind.na_value else one for one in values.to_numpy(object)]
        return ["strings", kind.storage, "NA" if kind.na_value is pd.NA else "nan", texts]
    if isinstance(kind, pd.DatetimeTZDtype):
        return ["zone", few(np.asarray(values.tz_convert("UTC").tz_localize(None))), str(kind.tz)]
    array = np.asarray(values)
    if array.dtype.kind == "O":
        return ["objects", [_tagged("a label", one) for one in array.tolist()]]
    if array.dtype.kind not in "biufcmMUS":
        raise CaptureError(f"labels with the dtype {kind} can't be kept: convert them")
    return ["array", array.dtype.str, array.tobytes().hex()]


def many(told: list[Any]) -> Any:
    """Return what :func:`few` took: an array, or an index of pandas."""
    import pandas as pd

    way = told[0]
    if way == "levels":
        return pd.MultiIndex.from_arrays([many(one) for one in told[1]])
    if way == "intervals":
        return pd.IntervalIndex.from_arrays(many(told[1]), many(told[2]), closed=told[3])
    if way == "strings":
        return pd.Index(told[3], dtype=_texts_dtype(told[1], told[2]))
    if way == "zone":
        return pd.DatetimeIndex(many(told[1])).tz_localize("UTC").tz_convert(told[2])
    if way == "objects":
        return _object_array([_untagged(one) for one in told[1]])
    return np.frombuffer(bytes.fromhex(told[2]), np.dtype(told[1])).copy()


# -- codes of texts and objects ------------------------------------------------------------------


def _narrow(codes: Array, count: int) -> Array:
    for kind in (np.int8, np.int16, np.int32):
        if count <= np.iinfo(kind).max:
            return codes.astype(kind)
    return codes.astype(np.int64)


def _texts(values: Any) -> tuple[Array, list[str]]:
    """Return codes into the sorted texts, -1 where one is missing."""
    import pandas as pd

    codes, found = pd.factorize(values)
    texts = np.asarray(found, object)
    order = np.argsort(texts, kind="stable") if len(texts) else np.zeros(0, np.int64)
    rank = np.empty(len(order) + 1, np.int64)
    rank[order] = np.arange(len(order))
    rank[-1] = _NONE  # what a code of -1 picks
    return _narrow(rank[codes], len(texts)), texts[order].tolist()


def _objects(name: str, column: Array) -> tuple[Array, list[Any]]:
    """Return codes of objects, and the objects tagged with what JSON does not tell apart."""
    import pandas as pd

    if pd.api.types.infer_dtype(column, skipna=True) == "string":
        codes, values = _texts(column)
        missing = np.flatnonzero(codes == _NONE)
        codes[missing] = [_missing(column[at]) for at in missing]
        return codes, values
    numbers: dict[Any, int] = {}
    values, codes = [], np.empty(len(column), np.int64)
    for at, one in enumerate(column.tolist()):
        code = _missing(one)
        if code is None:
            tagged = _tagged(name, one)
            key = repr(tagged)
            code = numbers.setdefault(key, len(values))
            if code == len(values):
                values.append(tagged)
        codes[at] = code
    return _narrow(codes, len(values)), values


def _missing(value: Any) -> int | None:
    import pandas as pd

    if value is None:
        return _NONE
    if value is pd.NA:
        return _NA
    if value is pd.NaT:
        return _NAT
    return _NAN if isinstance(value, float) and math.isnan(value) else None


def _tagged(name: str, value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return value
    if kind in (bool, int, type(None)):
        return [kind.__name__, value]
    if kind is float:
        return ["float", value.hex()]
    if kind is bytes:
        return ["bytes", value.hex()]
    if isinstance(value, np.generic) and value.dtype.kind in "biufcmM":
        return ["scalar", value.dtype.str, value.tobytes().hex()]
    if kind is tuple:
        return ["tuple", [_tagged(name, one) for one in value]]
    raise CaptureError(
        f"{name!r} holds a {kind.__name__} among its objects; texts, bytes, numbers, truth values "
        "and tuples of them can be kept: convert it"
    )


def _untagged(told: Any) -> Any:
    if isinstance(told, str):
        return told
    if told[0] == "float":
        return float.fromhex(told[1])
    if told[0] == "bytes":
        return bytes.fromhex(told[1])
    if told[0] == "scalar":
        return np.frombuffer(bytes.fromhex(told[2]), np.dtype(told[1]))[0]
    return tuple(map(_untagged, told[1])) if told[0] == "tuple" else told[1]


def _object_array(values: list[Any]) -> Array:
    out = np.empty(len(values), object)
    out[:] = values
    return out


def _from_objects(codes: Array, values: list[Any]) -> Array:
    import pandas as pd

    table = [*map(_untagged, values), pd.NaT, pd.NA, math.nan, None]
    found: Array = _object_array(table)[codes]  # -1 is the last, as in Python
    return found


# -- missing values of nullable columns ----------------------------------------------------------


def _masked(data: Array, mask: Array) -> tuple[Array, int | None]:
    """Return the values with one number, as integer of its bits, where they are missing."""
    if not mask.any():
        return data, None
    whole = data.astype(np.uint8) if data.dtype.kind == "b" else data.copy()
    bits = whole.view(f"u{whole.itemsize}") if whole.dtype.kind == "f" else whole
    sentinel = _unused(bits[~mask], whole.dtype)
    if sentinel is None:
        return _masked(data.astype(np.promote_types(data.dtype, np.int16)), mask)
    bits[mask] = sentinel
    return whole, int(sentinel)


def _unused(values: Array, dtype: np.dtype[Any]) -> Any:
    """Return a number that is not there, of floats the bits of a NaN; None where there is none."""
    if dtype.kind == "f":
        quiet = int(np.array(np.nan, dtype).view(values.dtype))
        taken = set(values[np.isnan(values.view(dtype))].tolist())
        return next(quiet + step for step in range(1, len(taken) + 2) if quiet + step not in taken)
    limits = np.iinfo(values.dtype)
    for number in (limits.min, limits.max) if limits.min else (limits.max,):
        if not (values == number).any():
            return number
    sorted_values = np.unique(values)
    gaps = np.flatnonzero(sorted_values[1:] != sorted_values[:-1] + 1)
    return sorted_values[gaps[0]] + 1 if len(gaps) else None


def _unmasked(array: Array, sentinel: int | None, dtype: Any) -> tuple[Array, Array]:
    """Return (values of the dtype, where they are missing)."""
    if sentinel is None:
        return array.astype(dtype, copy=False), np.zeros(len(array), np.bool_)
    bits = array.view(f"u{array.itemsize}") if array.dtype.kind == "f" else array
    mask = bits == bits.dtype.type(sentinel)
    data = array.copy()
    data[mask] = 0
    return data.astype(dtype, copy=False), mask


def _from_masked(array: Array, name: str, sentinel: int | None) -> Any:
    import pandas as pd

    kind = pd.api.types.pandas_dtype(name)
    data, mask = _unmasked(array, sentinel, kind.numpy_dtype)
    return kind.construct_array_type()(data, mask)


# -- back to columns -----------------------------------------------------------------------------


def _from_strings(codes: Array, storage: str, missing: str, values: list[str]) -> Any:
    import pandas as pd

    table = pd.array([*values, None], dtype=_texts_dtype(storage, missing))
    return table.take(np.where(codes < 0, len(values), codes))


def _texts_dtype(storage: str, missing: str) -> Any:
    import pandas as pd

    if missing == "NA":  # the only one before pandas 2.3
        return pd.StringDtype(storage)
    return pd.StringDtype(storage, na_value=math.nan)


def _from_category(codes: Array, categories: list[Any], ordered: bool) -> Any:
    import pandas as pd

    return pd.Categorical.from_codes(codes, pd.Index(many(categories)), ordered=ordered)


def _from_sparse(array: Array, subtype: str, fill: list[Any], told: Told) -> Any:
    import pandas as pd

    dense = decode(array, told)
    return pd.arrays.SparseArray(dense, dtype=pd.SparseDtype(subtype, many(fill)[0]))


def _from_zone(array: Array, unit: str, zone: str) -> Any:
    import pandas as pd

    index = pd.DatetimeIndex(array.astype(f"datetime64[{unit}]"))
    return index.tz_localize("UTC").tz_convert(zone).array


def _from_period(array: Array, name: str) -> Any:
    import pandas as pd

    return pd.arrays.PeriodArray(array, dtype=pd.api.types.pandas_dtype(name))


def _from_arrow(array: Array, title: str, sentinel: int | None) -> Any:
    import pandas as pd
    import pyarrow as pa

    kind = pa.type_for_alias(title)
    data, mask = _unmasked(array, sentinel, kind.to_pandas_dtype())
    return pd.arrays.ArrowExtensionArray(pa.array(data, kind, mask=mask))


def _from_arrow_texts(codes: Array, title: str, values: list[str]) -> Any:
    import pandas as pd
    import pyarrow as pa

    table = pa.array(values, pa.type_for_alias(title))
    return pd.arrays.ArrowExtensionArray(table.take(pa.array(codes, mask=codes < 0)))


def _from_texts(codes: Array, title: str, listed: list[str], values: list[str]) -> Any:
    import polars as pl

    texts = pl.Series(values, dtype=pl.String).gather(
        pl.Series(np.where(codes < 0, 0, codes), dtype=pl.UInt32)
    ) if values else pl.Series([None] * len(codes), dtype=pl.String)  # fmt: skip
    texts = texts.set(pl.Series(codes < 0), None)
    return texts.cast(pl.Enum(listed) if title == "Enum" else getattr(pl, title))


def _from_polars(array: Array, title: str, extra: list[Any], sentinel: int | None) -> Any:
    import polars as pl

    kind = getattr(pl, title)
    if title == "Datetime":
        kind = pl.Datetime(*extra)
    elif title == "Duration":
        kind = pl.Duration(extra[0])
    data, mask = _unmasked(array, sentinel, array.dtype)
    column = pl.Series(data).cast(kind)
    return column.set(pl.Series(mask), None) if mask.any() else column


_DECODERS: dict[str, Callable[..., Any]] = {
    "array": lambda codes, values: many(values)[codes],
    "objects": _from_objects,
    "string": _from_strings,
    "category": _from_category,
    "masked": _from_masked,
    "zone": _from_zone,
    "period": _from_period,
    "sparse": _from_sparse,
    "arrow": _from_arrow,
    "arrow texts": _from_arrow_texts,
    "texts": _from_texts,
    "polars": _from_polars,
}
