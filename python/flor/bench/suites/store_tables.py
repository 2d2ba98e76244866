"""A log of a million records, read into an Arrow table, beside files that hold the same table."""

from __future__ import annotations

import importlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flor import _core
from flor.bench.apart import apart
from flor.bench.harness import BenchError, Experiment, Figure, Figures
from flor.bench.peers import Peer
from flor.bench.suites import Plan


def make(folder: Path, place: Path, count: int) -> Figures:
    """Log so many losses, one a step, and write step and value for each peer."""
    import numpy as np
    import pyarrow as pa
    from pyarrow import parquet

    (place / "log").mkdir(parents=True)
    writer = _core.LogWriter(str(place / "log"), "bench")
    _core.set_active(writer)
    token = _core.context_enter("step")
    losses = np.random.default_rng(0).random(count)
    for step, loss in enumerate(losses.tolist()):
        _core.context_step(token, step)
        _core.log("loss", loss)
    _core.context_leave(token)
    _core.set_active(None)
    writer.close()
    columns = {"step": np.arange(count), "loss": losses}
    parquet.write_table(pa.table(columns), place / "log.parquet")
    for write in (_write_hdf5, _write_zarr):
        try:
            write(place, columns)
        except ImportError:
            continue  # the report says which are missing
    return {}


def _write_hdf5(place: Path, columns: dict[str, Any]) -> None:
    with importlib.import_module("h5py").File(place / "log.h5", "w") as file:
        for name, values in columns.items():
            file[name] = values


def _write_zarr(place: Path, columns: dict[str, Any]) -> None:
    group = importlib.import_module("zarr").open_group(place / "log.zarr", mode="w")
    for name, values in columns.items():
        group.create_array(name, data=values)


def read(folder: Path, place: Path, how: str, count: int) -> Figures:
    """Return how long it takes to have the table in memory, and what it takes on disk."""
    path = place / how
    times = []
    for _ in range(4):
        begin = time.perf_counter()
        rows = _READS[how](path)
        times.append(time.perf_counter() - begin)
        if rows != count:
            raise BenchError(f"{rows} rows instead of {count}")
    took = statistics.median(times[1:])
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
    return {"read": took * 1e3, "disk": sum(one.stat().st_size for one in files) / count}


def _read_flor(path: Path) -> int:
    import pyarrow as pa

    return int(pa.record_batch(_core.read_log(str(path))).num_rows)


def _read_parquet(path: Path) -> int:
    from pyarrow import parquet

    return int(parquet.read_table(path).num_rows)


def _read_hdf5(path: Path) -> int:
    with importlib.import_module("h5py").File(path, "r") as file:
        return len({name: file[name][...] for name in ("step", "loss")}["loss"])


def _read_zarr(path: Path) -> int:
    group = importlib.import_module("zarr").open_group(path, mode="r")
    return len({name: group[name][...] for name in ("step", "loss")}["loss"])


_READS: dict[str, Callable[[Path], int]] = {
    "log": _read_flor,
    "log.parquet": _read_parquet,
    "log.h5": _read_hdf5,
    "log.zarr": _read_zarr,
}


def experiments(plan: Plan) -> Iterator[Experiment]:
    """Yield the reading of a log."""
    title = "A log, as a table"
    if not plan.wants(title):
        return
    place, count = plan.scratch / "tables", 20_000 if plan.quick else 1_000_000
    apart(make, plan.scratch, place=place, count=count)()
    yield plan.experiment(
        title,
        f"{count:,} losses, one a step.",
        [Figure("read", "ms"), Figure("disk", "bytes a record")],
        [
            Peer("flor", read, given={"how": "log"}, ours=True),
            Peer("Parquet", read, given={"how": "log.parquet"}),
            Peer("HDF5", read, "h5py", given={"how": "log.h5"}),
            Peer("zarr", read, "zarr", given={"how": "log.zarr"}),
        ],
        (1, 5),
        base="Parquet",
        place=place,
        count=count,
    )
    shutil.rmtree(place)
