"""What does capturing every layer add to a forward pass, beside writing files from hooks?

    python -m benchmarks.capture_overhead [--quick] [--output FOLDER]

VGG16 and a small transformer, all leaf layers of all rows, in eval mode. *forward*:
until the last batch has passed, which is what a program waits for; *kept*: until everything is
durable. Ratios are to the plain forward pass of the same round. Peers write the same values from
torch's own hooks, one file or dataset a layer, at the defaults of their libraries; 8 bits are a
scale and an offset a channel of a batch, as affine8 has a block. One thread of torch leaves a core
of this machine to the background; with as many threads as cores it competes. *processor* is the
processor time of the thread that computes, which others at work on the machine change little, and
*all processors* that of the process until everything is kept.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness import Report, Subject, compare, interleave, run_report
from flor.intermediate.networks.arrays import array_of
from flor.intermediate.networks.keeping import fitting
from flor.intermediate.networks.network import Network
from flor.intermediate.networks.select import select
from flor.intermediate.storage.store import IntermediateStore

BATCH = 64
Array = np.ndarray[Any, Any]
Write = Callable[[str, Array], None]


class Vgg(nn.Module):
    """VGG16 for images of 32 × 32."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for factor, repeats in ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3)):
            for _ in range(repeats):
                layers += [nn.Conv2d(before, width * factor, 3, padding=1), nn.ReLU()]
                before = width * factor
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(before, 512), nn.ReLU(), nn.Linear(512, 10)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.classifier(self.features(x))
        return out


class Transformer(nn.Module):
    """Four encoder layers over 64 tokens."""

    def __init__(self, width: int = 192) -> None:
        super().__init__()
        self.embed = nn.Embedding(1000, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4)
        self.classify = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.classify(self.encoder(self.embed(x)).mean(1))
        return out


def leaves_of(net: nn.Module) -> dict[str, nn.Module]:
    """Return the modules without modules inside."""
    return {name: m for name, m in net.named_modules() if name and not list(m.children())}


def passes(net: nn.Module, data: torch.Tensor) -> None:
    """Run all batches."""
    with torch.no_grad():
        for at in range(0, len(data), BATCH):
            net(data[at : at + BATCH])


class Clock:
    """The times of one subject."""

    def __init__(self) -> None:
        self.begun = time.perf_counter(), time.thread_time(), time.process_time()
        self.forward = self.own = 0.0

    def passed(self) -> None:
        """All batches have passed."""
        self.forward = time.perf_counter() - self.begun[0]
        self.own = time.thread_time() - self.begun[1]

    def figures(self, megabytes: float) -> dict[str, float]:
        """Everything is kept."""
        return {
            "forward": self.forward,
            "kept": time.perf_counter() - self.begun[0],
            "processor": self.own,
            "all processors": time.process_time() - self.begun[2],
            "MB": megabytes,
        }


def plain(net: nn.Module, data: torch.Tensor) -> dict[str, float]:
    """Time the forward passes alone."""
    clock = Clock()
    passes(net, data)
    clock.passed()
    return clock.figures(0.0)


def by_flor(code: str, net: nn.Module, data: torch.Tensor) -> dict[str, float]:
    """Time flor's capture."""
    with scratch() as folder:
        network = Network(net, data, batch=BATCH)
        names = [name for name in network.layers() if name.split("[")[0] in leaves_of(net)]
        layers = select(names, network.traced(), dict(net.named_modules()))
        store = IntermediateStore.open(folder / "store", create=True)
        writers = {
            layer.name: store.writer(
                network.key(layer.name), network.form(layer.name), fitting(code, layer)
            )
            for layer in layers
        }
        clock = Clock()
        network.run(layers, lambda layer, rows, values: writers[layer.name].append(rows, values))
        clock.passed()
        for writer in writers.values():
            writer.commit()
        figures = clock.figures(0.0)
        store.close()
        return figures | {"MB": size_of(folder)}


def by_hooks(
    peer: Callable[[Path], tuple[Write, Callable[[], None]]],
    bits: int,
    net: nn.Module,
    data: torch.Tensor,
) -> dict[str, float]:
    """Time a library that is called from plain hooks."""
    with scratch() as folder:
        write, close = peer(folder)

        def hook(name: str, _: Any, __: Any, out: Any) -> None:
            tensor = out[0] if isinstance(out, tuple) else out
            write(name, eight_bits(array_of(tensor)) if bits == 8 else array_of(tensor))

        hooks = [m.register_forward_hook(partial(hook, n)) for n, m in leaves_of(net).items()]
        clock = Clock()
        passes(net, data)
        clock.passed()
        close()
        figures = clock.figures(0.0)
        for handle in hooks:
            handle.remove()
        return figures | {"MB": size_of(folder)}


def eight_bits(values: Array) -> Array:
    """Return one byte a value, between the least and the largest of each channel."""
    axes = (0, *range(2, values.ndim))
    low, high = values.min(axes, keepdims=True), values.max(axes, keepdims=True)
    scale = np.maximum(high - low, np.float32(1e-12)) / np.float32(255)
    return np.rint((values - low) / scale).astype(np.uint8)


def npy(folder: Path) -> tuple[Write, Callable[[], None]]:
    """A file of arrays a layer."""
    files: dict[str, Any] = {}

    def write(name: str, values: Array) -> None:
        if name not in files:
            files[name] = (folder / f"{name}.npy").open("wb")
        np.save(files[name], values)

    return write, lambda: [file.close() for file in files.values()] and None


def hdf5(folder: Path) -> tuple[Write, Callable[[], None]]:
    """A dataset a layer, chunks of a batch, lzf."""
    import h5py

    file = h5py.File(folder / "layers.h5", "w")

    def write(name: str, values: Array) -> None:
        if name not in file:
            shape = (None, *values.shape[1:])
            file.create_dataset(
                name, data=values, maxshape=shape, chunks=values.shape, compression="lzf"
            )
            return
        dataset = file[name]
        dataset.resize(len(dataset) + len(values), axis=0)
        dataset[-len(values) :] = values

    return write, file.close


def zarr(folder: Path) -> tuple[Write, Callable[[], None]]:
    """An array a layer, chunks of a batch."""
    import zarr as library

    group = library.open_group(str(folder / "layers.zarr"), mode="w")
    arrays: dict[str, Any] = {}

    def write(name: str, values: Array) -> None:
        if name not in arrays:
            arrays[name] = group.create_array(name, data=values, chunks=values.shape)
        else:
            arrays[name].append(values)

    return write, lambda: None


def parquet(folder: Path) -> tuple[Write, Callable[[], None]]:
    """A file a layer, a row of it a list of fixed length, zstd."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    writers: dict[str, Any] = {}

    def write(name: str, values: Array) -> None:
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        rows = pa.FixedSizeListArray.from_arrays(flat, flat.__len__() // len(values))
        table = pa.table({"values": rows})
        if name not in writers:
            path = folder / f"{name}.parquet"
            writers[name] = pq.ParquetWriter(path, table.schema, compression="zstd")
        writers[name].write_table(table)

    return write, lambda: [writer.close() for writer in writers.values()] and None


class scratch:
    """A folder that goes afterwards."""

    def __enter__(self) -> Path:
        self.folder = Path(tempfile.mkdtemp(prefix="capture-overhead-"))
        return self.folder

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder)


def size_of(folder: Path) -> float:
    """Return the bytes in a folder, in MB."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


PEERS = {"npy": (npy, "numpy"), "HDF5": (hdf5, "h5py"), "zarr": (zarr, "zarr"),
         "Parquet": (parquet, "pyarrow")}  # fmt: skip
CODES = ("exact", "affine8", "pool2+affine8", "pool2", "poolmap")


def subjects(net: nn.Module, data: torch.Tensor, notes: list[str]) -> Iterator[Subject]:
    """Yield what is measured on a network."""
    yield Subject("plain forward", partial(plain, net, data))
    for code in CODES:
        yield Subject(f"flor {code}", partial(by_flor, code, net, data), True)
    for name, (peer, module) in PEERS.items():
        if importlib.util.find_spec(module) is None:
            note = f"{name} left out: {module} is not installed"
            notes += [note] if note not in notes else []
            continue
        for bits in (32, 8):
            yield Subject(f"{name}, {bits} bits", partial(by_hooks, peer, bits, net, data))


def measure(quick: bool) -> Report:
    """Measure both networks, with one thread and with all."""
    report = Report("capture_overhead", __doc__.split("\n")[0])
    rows, rounds = (128, 2) if quick else (512, 5)
    threads = torch.get_num_threads()
    torch.manual_seed(0)
    torch.backends.mha.set_fastpath_enabled(False)  # as any hook does
    sets = {
        "VGG16": (Vgg().eval(), torch.randn(rows, 3, 32, 32)),
        "transformer": (Transformer().eval(), torch.randint(0, 1000, (rows, 64))),
    }
    for count in sorted({1, threads}):
        torch.set_num_threads(count)
        for name, (net, data) in sets.items():
            every = list(subjects(net, data, report.notes))
            plain(net, data)  # warm
            samples = interleave(every, rounds)
            for figure in ("forward", "kept", "processor", "all processors"):
                title = f"{name}, {count} thread(s) of torch: seconds, {figure}"
                report.add(title, compare(samples, figure, "plain forward", 3))
            report.add(f"{name}, {count} thread(s): MB", compare(samples, "MB", None, 1))
    torch.set_num_threads(threads)
    report.notes.append(f"{rows} rows, {rounds} rounds")
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
