"""Activations of a network on the disk: flor beside .npy, zarr, HDF5 and Parquet, in one run.

    python -m benchmarks.intermediate_formats [--quick] [--output FOLDER]

Every layer of a VGG-like network on digits, batch by batch, as a capture would write them. Exact:
each format without loss, with its usual compression. 8 bits: flor's affine8, and for the others the
same codes (256 steps between the least and the largest value of each channel) made by NumPy and
written as bytes; making them is in their time, as it is in flor's. All files are synced. Reading is
from the page cache, back to float32: everything, and 100 rows chosen at random of every layer.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Report, Subject, compare, interleave, run_report
from flor.intermediate.forms import Form, Key
from flor.intermediate.storage.store import IntermediateStore

Array = np.ndarray[Any, Any]
Layers = dict[str, Array]
BATCH = 128
WIDTHS = (16, 32, 64)


def activations(rows: int) -> Layers:
    """Return what each layer of a network puts out, after some steps of training."""
    import torch
    from sklearn.datasets import load_digits
    from torch import nn

    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    images = nn.functional.interpolate(images, size=(32, 32), mode="bilinear")
    labels = torch.tensor(digits.target)
    parts: list[nn.Module] = []
    before = 1
    for width in WIDTHS:
        parts += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        before = width
    net = nn.Sequential(
        *parts, nn.Flatten(), nn.Linear(64 * 16, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    steps = torch.optim.Adam(net.parameters(), 1e-3)
    for at in range(0, 1280, 64):
        steps.zero_grad()
        nn.functional.cross_entropy(net(images[at : at + 64]), labels[at : at + 64]).backward()
        steps.step()
    found: Layers = {}
    with torch.no_grad():
        values = images[torch.arange(rows) % len(images)]
        for name, layer in net.named_children():
            values = layer(values)
            if not isinstance(layer, nn.Flatten):
                found[name] = values.numpy().copy()
    return found


def coded(values: Array) -> tuple[Array, Array, Array]:
    """Return (uint8 codes, least, step) of a batch, a channel each: axis 1."""
    axes = tuple(axis for axis in range(values.ndim) if axis != 1)
    low = values.min(axis=axes, keepdims=True)
    step = np.maximum((values.max(axis=axes, keepdims=True) - low) / np.float32(255), 1e-30)
    return np.rint((values - low) / step).astype(np.uint8), low, step


def decoded(codes: Array, low: Array, step: Array) -> Array:
    return codes.astype(np.float32) * step + low


class Files:
    """A format that keeps arrays: ``write(folder, name, array)``, ``read(folder, name, rows)``."""

    def __init__(self, write: Callable[..., None], read: Callable[..., Array]) -> None:
        self.write, self.read = write, read

    def put(self, folder: Path, layers: Layers, lossy: bool) -> None:
        for name, values in layers.items():
            if not lossy:
                self.write(folder, name, values)
                continue
            codes, low, step = coded(values)
            self.write(folder, name, codes)
            np.savez(folder / f"{name}-scale.npz", low=low, step=step)
        for path in folder.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())

    def get(self, folder: Path, name: str, lossy: bool, rows: Array | None) -> Array:
        values = self.read(folder, name, rows)
        if not lossy:
            return values
        scale = np.load(folder / f"{name}-scale.npz")
        return decoded(values, scale["low"], scale["step"])


def npy() -> Files:
    def read(folder: Path, name: str, rows: Array | None) -> Array:
        if rows is None:
            return np.load(folder / f"{name}.npy")
        return np.array(np.load(folder / f"{name}.npy", mmap_mode="r")[rows])

    return Files(lambda folder, name, values: np.save(folder / f"{name}.npy", values), read)


def zarr() -> Files:
    import zarr as library

    def write(folder: Path, name: str, values: Array) -> None:
        chunks = (BATCH, *values.shape[1:])
        made = library.create_array(
            folder / f"{name}.zarr", shape=values.shape, dtype=values.dtype, chunks=chunks
        )
        made[:] = values

    def read(folder: Path, name: str, rows: Array | None) -> Array:
        found = library.open_array(folder / f"{name}.zarr", mode="r")
        return np.asarray(found[:] if rows is None else found.oindex[np.sort(rows)])

    return Files(write, read)


def hdf5() -> Files:
    import h5py

    def write(folder: Path, name: str, values: Array) -> None:
        with h5py.File(folder / f"{name}.h5", "w") as file:
            chunks = (BATCH, *values.shape[1:])
            file.create_dataset("x", data=values, chunks=chunks, compression="gzip", shuffle=True)

    def read(folder: Path, name: str, rows: Array | None) -> Array:
        with h5py.File(folder / f"{name}.h5") as file:
            return np.asarray(file["x"][:] if rows is None else file["x"][np.unique(rows)])

    return Files(write, read)


def parquet() -> Files:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def write(folder: Path, name: str, values: Array) -> None:
        width = values[0].size
        lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), width)
        table = pa.table({"x": lists}, metadata={"shape": repr(values.shape[1:])})
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd", row_group_size=BATCH)

    def read(folder: Path, name: str, rows: Array | None) -> Array:
        file = pq.ParquetFile(folder / f"{name}.parquet")
        if rows is None:
            table = file.read()
        else:
            table = file.read_row_groups(np.unique(rows // BATCH).tolist())
        flat = table["x"].combine_chunks().values.to_numpy()
        values = flat.reshape(table.num_rows, -1)
        if rows is not None:
            groups = np.unique(rows // BATCH)
            starts = np.searchsorted(groups, rows // BATCH) * BATCH
            values = values[starts + rows % BATCH]
        shape = [int(part) for part in table.schema.metadata[b"shape"].strip(b"(),").split(b",")]
        return values.reshape(len(values), *shape)

    return Files(write, read)


PEERS = {".npy": npy, "zarr": zarr, "HDF5": hdf5, "Parquet": parquet}


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def figures(layers: Layers, folder: Path, times: list[float]) -> dict[str, float]:
    raw = sum(values.nbytes for values in layers.values())
    write, read, rows = times
    return {
        "ratio": raw / size(folder),
        "write": raw / 1e6 / write,
        "read": raw / 1e6 / read,
        "rows": rows * 1e3,
    }


def check(values: Array, back: Array, lossy: bool) -> None:
    if lossy:
        assert np.abs(values - back).max() <= (values.max() - values.min()) / 255
    else:
        assert values.tobytes() == back.tobytes()


def of_files(make: Callable[[], Files], layers: Layers, lossy: bool, rows: Array) -> Any:
    kind = make()

    def run() -> dict[str, float]:
        folder = Path(tempfile.mkdtemp())
        begin = time.perf_counter()
        kind.put(folder, layers, lossy)
        times = [time.perf_counter() - begin]
        for chosen in (None, rows):
            begin = time.perf_counter()
            back = {name: kind.get(folder, name, lossy, chosen) for name in layers}
            times.append(time.perf_counter() - begin)
            for name, values in layers.items():
                check(values if chosen is None else values[chosen], back[name], lossy)
        out = figures(layers, folder, times)
        shutil.rmtree(folder)
        return out

    return run


def of_flor(layers: Layers, code: str, rows: Array) -> Any:
    def run() -> dict[str, float]:
        folder = Path(tempfile.mkdtemp())
        begin = time.perf_counter()
        with IntermediateStore.open(folder, create=True) as store:
            writers = {
                name: store.writer(Key("m", name, "d"), Form.tensor(x.shape[1:], "float32"), code)
                for name, x in layers.items()
            }
            for at in range(0, len(rows_of(layers)), BATCH):
                for name, values in layers.items():
                    batch = values[at : at + BATCH]
                    writers[name].append(np.arange(at, at + len(batch)), batch)
            for writer in writers.values():
                writer.commit()
        times = [time.perf_counter() - begin]
        with IntermediateStore.open(folder) as store:
            kept = {name: store.find(layer=name)[0] for name in layers}
            for chosen in (None, rows):
                begin = time.perf_counter()
                back = {name: kept[name].read(rows=chosen)[1] for name in layers}
                times.append(time.perf_counter() - begin)
                for name, values in layers.items():
                    given = values if chosen is None else values[chosen]
                    check(given, back[name], code != "exact")
        out = figures(layers, folder, times)
        shutil.rmtree(folder)
        return out

    return run


def rows_of(layers: Layers) -> Array:
    return next(iter(layers.values()))


def measure(quick: bool) -> Report:
    count = 512 if quick else 4096
    layers = activations(count)
    rows = np.sort(np.random.default_rng(1).choice(count, 100, replace=False))
    report = Report("intermediate_formats", "What do activations take, beside other formats?")
    raw = sum(values.nbytes for values in layers.values())
    report.notes.append(f"{len(layers)} layers of {count} rows, {raw / 1e6:.0f} MB of float32")
    for title, code in (("exact", "exact"), ("8 bits", "affine8")):
        subjects = [Subject("flor", of_flor(layers, code, rows), ours=True)]
        for name, make in PEERS.items():
            subjects.append(Subject(name, of_files(make, layers, code != "exact", rows)))
        samples = interleave(subjects, 2 if quick else 5)
        for figure, unit, digits in (
            ("ratio", "float32 bytes / stored", 2),
            ("write", "MB/s", 0),
            ("read", "MB/s", 0),
            ("rows", "ms for 100 rows of each layer", 1),
        ):
            report.add(f"{title}: {figure}, {unit}", compare(samples, figure, ".npy", digits))
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
