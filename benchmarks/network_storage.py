"""How many bytes do the layers of ten checkpoints take, and what do the codes cost in truth?

    python -m benchmarks.network_storage [--quick] [--output FOLDER]

A VGG-like network learns scikit-learn's digits (enlarged to 32 × 32), a small transformer the text
of Python's own library; after each of ten epochs every leaf layer of all rows is kept. *times
smaller* is to float32 without a store. *frozen*: the same with a base that does not learn (the
convolutions; all of the transformer but its last linear layer), as in fine-tuning.

*neighbours*: the part of the 50 nearest rows by true values that the kept ones give too, mean over
rows; *svcca*: how far the similarity of the first and last epoch moves, of layers of maps or of up
to 512 units. Both of the worst layer; of pooled copies, which answer other questions, not measured.
"""

from __future__ import annotations

import copy
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from benchmarks.capture_overhead import Transformer, leaves_of, size_of
from benchmarks.harness import Report, run_report
from benchmarks.query_speed import features
from flor.intermediate.handle import Handle
from flor.intermediate.networks.keeping import keep
from flor.intermediate.networks.network import Network
from flor.intermediate.networks.select import select
from flor.intermediate.storage.store import IntermediateStore

CODES = ("exact", "half", "affine8", "pool2", "pool2+affine8", "poolmap")
NEIGHBOURS, LOOKED_AT = 50, 100
MOST_UNITS = 512
TOKENS = 64


@dataclass(frozen=True)
class Subject:
    """A network at each of its checkpoints, and the rows that it is asked about."""

    name: str
    nets: Sequence[nn.Module]
    rows: torch.Tensor

    def computations(self) -> Iterator[Network]:
        for net in self.nets:
            yield Network(net.eval(), self.rows, batch=64)


def vgg() -> nn.Module:
    head = nn.Sequential(nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
    return nn.Sequential(nn.Sequential(*features(1)), head)


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    """Return (images, labels) of 1,797 handwritten digits."""
    found = load_digits()
    images = torch.tensor(found.images / 16, dtype=torch.float32)[:, None]
    return nn.functional.interpolate(images, scale_factor=4, mode="bilinear"), torch.tensor(
        found.target
    )


def text(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (windows of bytes, how the module that each is from begins): a class in ten."""
    paths = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))[:10]
    windows, labels = [], []
    rng = np.random.default_rng(0)
    for label, path in enumerate(paths):
        raw = np.frombuffer(path.read_bytes(), np.uint8)
        for at in rng.integers(0, len(raw) - TOKENS, count // len(paths)):
            windows.append(raw[at : at + TOKENS].astype(np.int64))
            labels.append(label)
    order = rng.permutation(len(windows))
    return torch.tensor(np.stack(windows)[order]), torch.tensor(labels)[order]


def checkpoints(
    net: nn.Module, data: torch.Tensor, labels: torch.Tensor, epochs: int
) -> list[nn.Module]:
    """Train what may learn; return a copy of the network after each epoch."""
    learning = [each for each in net.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-3)
    copies = []
    for _ in range(epochs):
        net.train()
        for batch in torch.randperm(len(data)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(data[batch]), labels[batch]).backward()
            optimizer.step()
        copies.append(copy.deepcopy(net))
    return copies


def subjects(quick: bool) -> Iterator[Subject]:
    rows, epochs = (64, 3) if quick else (512, 10)
    torch.backends.mha.set_fastpath_enabled(False)  # as any hook does
    for name, make, (data, labels) in (
        ("VGG-like", vgg, digits()),
        ("transformer", lambda: Transformer(32), text(200 if quick else 2000)),
    ):
        torch.manual_seed(0)
        net = make()
        trained = checkpoints(net, data, labels, epochs)
        yield Subject(name, trained, data[:rows])
        for parameter in net.parameters():
            parameter.requires_grad_(False)
        for parameter in list(net.children())[-1].parameters():
            parameter.requires_grad_(True)
        yield Subject(f"{name}, frozen", checkpoints(net, data, labels, epochs), data[:rows])


def leaves(network: Network) -> list[str]:
    inside = leaves_of(network.net)
    return [name for name in network.layers() if name.split("[")[0] in inside]


def kept(subject: Subject, code: str, folder: Path) -> tuple[IntermediateStore, list[Network]]:
    """Keep all leaf layers of all checkpoints with a code."""
    store = IntermediateStore.open(folder / "store", create=True)
    every = list(subject.computations())
    for network in every:
        chosen = select(leaves(network), network.traced(), dict(network.net.named_modules()))
        keep(network, store, chosen, code)
    return store, every


def uncompressed(network: Network) -> float:
    """Return the bytes of all leaf layers in float32."""
    units = sum(np.prod(network.traced()[name].unit_shape, dtype=float) for name in leaves(network))
    return 4.0 * float(units) * len(network.row_ids)


def nearest(values: np.ndarray[Any, Any]) -> list[set[int]]:
    """Return the nearest rows of the first rows, by Euclidean distance."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    found = []
    for row in flat[:LOOKED_AT]:
        distances = ((flat - row) ** 2).sum(axis=1)
        found.append(set(np.argsort(distances, kind="stable")[1 : NEIGHBOURS + 1].tolist()))
    return found


def truth(every: Sequence[Network]) -> dict[str, Any]:
    """Return by layer its last values, their neighbours, and its svcca with the first epoch."""
    first, last = Handle(None, every[0]), Handle(None, every[-1])
    found = {}
    for name in leaves(every[-1]):
        values = last.read(name).numpy()
        small = values.ndim == 4 or values[0].size <= MOST_UNITS
        found[name] = values, nearest(values), first.svcca(name, last).item() if small else None
    return found


def quality(
    store: IntermediateStore, every: Sequence[Network], true: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the worst layer's overlap and change of svcca, and whether all are bit-equal."""
    first, last = (Handle(store, every[at], adaptive=False) for at in (0, -1))
    overlap, moved, equal = 1.0, 0.0, True
    for name, (values, near, similar) in true.items():
        read = last.read(name, accuracy="any").numpy()
        equal = equal and np.array_equal(read, values)
        same = [len(a & b) / NEIGHBOURS for a, b in zip(near, nearest(read), strict=True)]
        overlap = min(overlap, float(np.mean(same)))
        if similar is not None:
            moved = max(moved, abs(first.svcca(name, last, accuracy="any").item() - similar))
    return {
        "neighbours": round(overlap, 4),
        "svcca": round(moved, 5),
        "bit-equal": bool(equal),
    }


def measure(quick: bool) -> Report:
    """Measure every network with every code."""
    report = Report("network_storage", __doc__.split("\n")[0])
    for subject in subjects(quick):
        rows = []
        true = truth(list(subject.computations()))
        for code in CODES:
            with tempfile.TemporaryDirectory() as temporary:
                store, every = kept(subject, code, Path(temporary))
                found = {} if code.startswith("pool") else quality(store, every, true)
                store.close()
                full, bytes_kept = sum(map(uncompressed, every)), size_of(Path(temporary)) * 1e6
            rows.append(
                {
                    "code": code,
                    "float32, MB": round(full / 1e6, 1),
                    "kept, MB": round(bytes_kept / 1e6, 2),
                    "times smaller": round(full / bytes_kept, 2),
                    **{"neighbours": "", "svcca": "", "bit-equal": ""},
                    **found,
                }
            )
            print(subject.name, rows[-1], flush=True)
        report.add(subject.name, rows)
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
