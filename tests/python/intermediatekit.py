"""A small network in NumPy whose rows are computed one by one, so that their bits never change."""

import time

import numpy as np

from flor.errors import LayerNotFoundError
from flor.intermediate.forms import Form, Key


class Network:
    """maps (channels, 4, 4) → mixed (channels, 4, 4) → vector (units,) → scores (10,).

    ``skip`` computes scores from maps too, so that the graph is no chain. Notes what was computed.
    """

    SHAPES = {"maps": (6, 4, 4), "mixed": (6, 4, 4), "vector": (70,), "scores": (10,)}  # noqa: RUF012

    def __init__(self, rows=300, seed=0, first=0, cost=1e-6):
        rng = np.random.default_rng(seed)
        data = np.random.default_rng(7)
        self.row_ids = np.arange(first, first + rows, dtype=np.int64)
        self.inputs = data.standard_normal((rows, 16)).astype(np.float32)
        sizes = {"maps": 16, "mixed": 96, "vector": 96, "scores": 70}
        self.weights = {
            name: (
                rng.standard_normal((size, int(np.prod(self.SHAPES[name])))) / np.sqrt(size)
            ).astype(np.float32)
            for name, size in sizes.items()
        }
        self.seed, self.cost = seed, cost
        self.computed = []

    def layers(self):
        return list(self.SHAPES)

    def key(self, layer):
        return Key(f"net{self.seed}", layer, f"data{len(self.row_ids)}")

    def form(self, layer):
        if layer not in self.SHAPES:
            raise LayerNotFoundError(f"no layer {layer!r}")
        return Form.tensor(self.SHAPES[layer], "float32")

    def parents(self, layer):
        at = self.layers().index(layer)
        return self.layers()[at - 1 : at]

    def together(self, rows):
        return rows

    def compute(self, layer, rows, given):
        ids = self.row_ids if rows is None else rows
        names = self.layers()[: self.layers().index(layer) + 1]
        start = max((names.index(name) + 1 for name in given), default=0)
        values = (
            np.asarray(given[names[start - 1]])
            if start
            else self.inputs[np.searchsorted(self.row_ids, ids)]
        )
        self.computed.append((layer, len(ids), tuple(given)))
        for name in names[start:]:
            values = self._step(name, values.reshape(len(ids), -1))
        return ids, values

    def _step(self, name, flat):
        weights = self.weights[name]
        out = np.empty((len(flat), weights.shape[1]), np.float32)
        for at, row in enumerate(flat):  # BLAS on a row alone: the same bits whoever stands beside
            out[at] = row @ weights
        return np.maximum(out, 0).reshape(len(flat), *self.SHAPES[name])

    def seconds(self, layer, rows, given):
        names = self.layers()[: self.layers().index(layer) + 1]
        start = max((names.index(name) + 1 for name in given), default=0)
        return (
            1e-5 + rows * self.cost * sum(self.weights[name].size for name in names[start:]) / 1e3
        )


class Table:
    """scale → filled → kept (drops rows) → label: a pipeline over named columns."""

    def __init__(self, rows=200):
        rng = np.random.default_rng(3)
        self.row_ids = np.arange(rows, dtype=np.int64) * 2 + 1
        self.columns = {
            "size": rng.standard_normal(rows),
            "rooms": rng.integers(1, 6, rows),
            "city": rng.choice(["Ghent", "Oslo", "Turin"], rows),
        }

    def layers(self):
        return ["scaled", "kept"]

    def key(self, layer):
        return Key("table", layer, "rows")

    def form(self, layer):
        return Form.table({"size": "float64", "rooms": "int64", "city": "<U5"})

    def parents(self, layer):
        return ["scaled"] if layer == "kept" else []

    def together(self, rows):
        return rows

    def compute(self, layer, rows, given):
        ids = self.row_ids if rows is None else np.asarray(rows)
        if "scaled" in given:
            found = given["scaled"]
        else:
            at = np.searchsorted(self.row_ids, ids)
            found = {name: column[at] for name, column in self.columns.items()}
            found["size"] = found["size"] * 10
        if layer == "scaled":
            return ids, found
        stay = found["rooms"] > 2
        return ids[stay], {name: column[stay] for name, column in found.items()}

    def seconds(self, layer, rows, given):
        return 1e-5 + rows * 1e-6 * (1 if given or layer == "scaled" else 2)


class Slow(Network):
    """The same, and it takes the seconds that it says."""

    def compute(self, layer, rows, given):
        time.sleep(self.seconds(layer, len(self.row_ids if rows is None else rows), set(given)))
        return super().compute(layer, rows, given)
