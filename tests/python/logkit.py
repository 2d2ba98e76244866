"""What the tests of the core's log share: reading it back, programs of their own."""

import subprocess
import sys

import pyarrow as pa

from flor import _core


def rows(folder, **options):
    batch = pa.record_batch(_core.read_log(folder, **options))
    batch.validate(full=True)
    return batch.to_pylist()


def values(folder):
    """Name and value of each record, the value as it was logged."""
    out = []
    for row in rows(folder):
        number = {1: bool(row["int"]), 2: row["int"], 3: row["num"]}.get(row["kind"])
        data = row["data"]
        out.append((row["name"], data.decode() if row["kind"] in (4, 6, 7) else data or number))
    return out


def paths(folder):
    return [[(e["loop"], e["index"]) for e in row["context"]] for row in rows(folder)]


def run_python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
