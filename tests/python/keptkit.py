"""What the tests of kept intermediates share: arrays, tables, and keeping them."""

from __future__ import annotations

import numpy as np

from flor.intermediate.forms import Form, Key

KEY = Key("model", "layer", "data")
RNG = np.random.default_rng(5)


def keep(store, values, code="exact", key=KEY, ids=None, batch=50):
    """Write a tensor in batches, return what was kept."""
    ids = np.arange(len(values)) if ids is None else ids
    form = Form.tensor(values.shape[1:], str(values.dtype))
    with store.writer(key, form, code) as writer:
        for at in range(0, len(values), batch):
            writer.append(ids[at : at + batch], values[at : at + batch])
    return store.find(key)[0]


def keep_table(store, columns, ids=None, key=KEY, code="exact"):
    rows = len(next(iter(columns.values())))
    form = Form.table({name: str(values.dtype) for name, values in columns.items()})
    writer = store.writer(key, form, code)
    writer.append(np.arange(rows) if ids is None else ids, columns)
    return writer.commit()


def same(a, b):
    """Equal to the bit, for any dtype."""
    if a.dtype == object:
        return str(a.tolist()) == str(b.tolist())
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def images(rows=120, shape=(5, 6, 7), dtype="float32"):
    return np.maximum(RNG.normal(size=(rows, *shape)), 0).astype(dtype)


def mixed(rows, seed=0):
    rng = np.random.default_rng(seed)
    texts = np.array(["Köln", "", None, "x" * 40, float("nan"), "\ud800"], object)
    return {
        "price": np.round(rng.lognormal(12, 1, rows), 2),
        "holes": np.where(rng.random(rows) < 0.3, np.nan, rng.integers(0, 9, rows)),
        "noise": rng.normal(size=rows),
        "single": rng.normal(size=rows).astype(np.float32),
        "id": rng.integers(-(2**62), 2**62, rows),
        "flag": rng.random(rows) < 0.01,
        "day": rng.integers(0, 10**9, rows).astype("datetime64[s]"),
        "text": texts[rng.integers(0, len(texts), rows)],
        "city": np.array(["a", "bb", "ccc"])[rng.integers(0, 3, rows)],
        "raw": np.array([b"a", b"bb"])[rng.integers(0, 2, rows)],
    }
