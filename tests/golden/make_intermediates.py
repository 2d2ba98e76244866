"""Makes intermediates/store, a store of intermediates that every later version must read.

    python tests/golden/make_intermediates.py FOLDER

The files in the repository are those of format 1 and are not made again.
"""

import sys
from pathlib import Path

import numpy as np

from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.store import IntermediateStore


def table():
    """Return the columns of a table: what IEEE arithmetic makes alike everywhere."""
    at = np.arange(600)
    return {
        "price": (at * 7919 % 10007) / 100,
        "holes": np.where(at % 7 == 3, np.nan, at % 13),
        "count": at * at % 1009 - 500,
        "noise": (at * 7919 % 10007) / (at * 31 % 97 + 3),
        "text": np.array([None, "Köln", "", "x"], object)[at % 4],
    }


def tensor():
    """Return the output of a layer, (40, 3, 4, 4)."""
    values = ((np.arange(40 * 48) * 37 % 101) - 50).astype(np.float32) / np.float32(7)
    return np.maximum(values, 0).reshape(40, 3, 4, 4)


def main(folder):
    columns, values = table(), tensor()
    with IntermediateStore.open(folder, create=True) as store:
        form = Form.table({name: str(column.dtype) for name, column in columns.items()})
        with store.writer(Key("m1", "all", "d"), form, labels={"epoch": 1}) as writer:
            writer.append(range(600), columns)
        stays = np.flatnonzero(np.arange(600) % 10)[::-1]
        with store.writer(Key("m1", "some", "d"), form, parents=["all"]) as writer:
            writer.append(stays, {name: column[stays] for name, column in columns.items()})
        for code in ("exact", "half", "bf16", "affine8", "quantile4", "threshold90", "pool2max"):
            form = Form.tensor(values.shape[1:], "float32")
            with store.writer(Key("m2", code, "d"), form, code, seconds=0.5) as writer:
                writer.append(range(40), values)
        store.interest(Key("m1", "all", "d"), 3.0, now=1.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
