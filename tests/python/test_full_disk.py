"""A disk that fills up during a training: the training goes on, flor says so, no byte lies."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from oracle import expect, flor, logs, run

PROGRAM = """
import flor
import numpy as np

rng = np.random.default_rng(5)
weights = rng.standard_normal(40_000)
with flor.checkpointing(overhead=1.0):
    for epoch in flor.loop("epoch", range(60)):
        for step in flor.loop("step", range(40)):
            weights = 0.999 * weights + rng.standard_normal(40_000)
            flor.log("mean", float(weights.mean()))
        flor.log("weights", weights)
print("trained to the end", float(weights.sum()))
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "flor-test", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def values(rows: list[dict], name: str) -> list:
    return [row["value"] for row in rows if row["name"] == name]


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Path, list[dict]]:
    """The program, and what it logs where there is room."""
    script = tmp_path / "train.py"
    script.write_text(PROGRAM)
    expect(0, run(sys.executable, script, cwd=tmp_path, store=tmp_path / "room"))
    return script, logs(tmp_path / "room", tmp_path)


def test_the_training_goes_on_and_says_so(small_disk: Path, whole, tmp_path: Path):
    script, rows = whole
    store = small_disk / ".flor"
    done = expect(0, run(sys.executable, script, cwd=tmp_path, store=store))
    assert "trained to the end" in done.stdout
    assert "full" in done.stderr.lower() or "space" in done.stderr.lower(), done.stderr
    told = expect(0, flor("show", cwd=tmp_path, store=store)).stdout
    assert "space" in told or "full" in told

    # What is there is true: a beginning of what the whole run logged, in order.
    kept = values(logs(store, tmp_path), "mean")
    wanted = values(rows, "mean")
    assert kept == wanted[: len(kept)]


def test_strict_stops_the_training(small_disk: Path, whole, tmp_path: Path):
    script, _ = whole
    done = flor("record", "--strict", script, cwd=tmp_path, store=small_disk / ".flor")
    assert done.returncode != 0
    assert "FullDiskError" in done.stderr
    assert "trained to the end" not in done.stdout


def test_a_limit_on_the_size_of_files_is_told_too(whole, tmp_path: Path):
    script, rows = whole
    store = tmp_path / "limited"
    limited = tmp_path / "limited.py"
    limited.write_text(
        dedent("""
        import resource, runpy, signal, sys
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        runpy.run_path(sys.argv[1], run_name="__main__")
        """)
    )
    done = expect(0, run(sys.executable, limited, script, cwd=tmp_path, store=store))
    assert "trained to the end" in done.stdout
    kept = values(logs(store, tmp_path), "mean")
    assert kept == values(rows, "mean")[: len(kept)]
