"""Files that a run found and changed: kept within a budget, or named; inputs: fingerprinted."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from oracle import checksums, expect, flor, logs, run

from flor.files import sample_of

SIZE = 400_000  # more than what is kept of any file at the start
PROGRAM = """
import os, pathlib, shutil
import numpy as np
import torch

torch.manual_seed(0)
net = torch.nn.Linear(3, 1)
data = np.load("data.npy")                      # only read
away = np.load("{elsewhere}/far.npy")           # only read, outside of the folder
weights = np.fromfile("weights.bin")
state = torch.load("state.pt")                  # resumed from, and written over in C++
names = sorted(p.name for p in pathlib.Path("old").iterdir())
for epoch in range(3):
    weights += data[: len(weights)] * away[0]
    weights.tofile("weights.bin")
    if epoch == 1:
        os.replace("rename-me.bin", "renamed.bin")
        os.remove("delete-me.bin")
        shutil.rmtree("old")
    torch.save({{"net": net.state_dict(), "filler": state["filler"] + epoch}}, "state.pt")
    with open("log.txt", "a") as file:
        file.write("x" * {size})
    # ask
    print(epoch, weights.sum(), state["filler"][0].item(), names)
"""
ASK = 'print("ask", epoch, weights[0], len(open("log.txt").read()))'


def write(folder: Path, *, asked: bool) -> None:
    text = PROGRAM.format(size=SIZE, elsewhere=folder.parent / "elsewhere")
    (folder / "train.py").write_text(text.replace("# ask", ASK) if asked else text)


def fill(folder: Path) -> None:
    """Make the folder that the program finds, and the data beside it."""
    import numpy as np
    import torch

    (folder / "old").mkdir(parents=True)
    (folder.parent / "elsewhere").mkdir()
    count = SIZE // 8
    for number, name in enumerate(["weights.bin", "rename-me.bin", "delete-me.bin", "old/a.bin"]):
        np.full(count, float(number)).tofile(folder / name)
    np.save(folder / "data.npy", np.arange(count, dtype=float))
    np.save(folder.parent / "elsewhere" / "far.npy", np.full(count, 0.5))
    torch.save({"filler": torch.full((count,), 7.0, dtype=torch.float64)}, folder / "state.pt")
    (folder / "log.txt").write_text("y" * SIZE)
    for path in [*folder.rglob("*"), *(folder.parent / "elsewhere").iterdir()]:
        os.utime(path, (1e9, 1e9))  # older than the run
    write(folder, asked=False)


def meta_of(folder: Path) -> dict:
    return json.loads(next(folder.glob(".flor/runs/*/run.json")).read_text())


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory):
    """Runs by budget: (folder, the lines of its oracle)."""
    base = tmp_path_factory.mktemp("images")
    made: dict[str, Path] = {}

    def get(budget: str) -> Path:
        if budget not in made:
            folder = base / budget / "work"
            fill(folder)
            words = ("record", "--files-budget", budget, "train.py")
            expect(0, flor(*words, cwd=folder, store=folder / ".flor"))
            made[budget] = folder
        return made[budget]

    return get


def replay(folder: Path):
    write(folder, asked=True)
    before = checksums(folder), checksums(folder.parent / "elsewhere")
    done = flor("replay", cwd=folder, store=folder / ".flor")
    assert (checksums(folder), checksums(folder.parent / "elsewhere")) == before
    write(folder, asked=False)
    return done


def test_what_the_run_changes_is_kept_and_replayed(recorded):
    folder = recorded("50M")
    files = {entry["path"]: entry for entry in meta_of(folder)["files"]}
    changed = {"weights.bin", "rename-me.bin", "delete-me.bin", "state.pt", "log.txt", "old/a.bin"}
    assert {name for name in changed if "ref" in files[name]} == changed
    assert "ref" not in files["data.npy"]  # only read: not copied
    assert files["data.npy"]["sample"] == sample_of(folder / "data.npy")
    assert not any("lost" in entry for entry in files.values())
    expect(0, replay(folder))
    asked = [row["value"] for row in logs(folder / ".flor", folder) if row["value"][:3] == "ask"]
    data = range(SIZE // 8)
    assert len(asked) == 3
    assert asked[2] == f"ask 2 {data[0] * 1.5} {4 * SIZE}"


def test_inputs_elsewhere_are_fingerprinted_and_a_changed_one_is_named(recorded, tmp_path: Path):
    folder = recorded("50M")
    inputs = {Path(entry["path"]).name: entry for entry in meta_of(folder)["inputs"]}
    far = folder.parent / "elsewhere" / "far.npy"
    assert inputs["far.npy"]["sample"] == sample_of(far)
    kept = far.read_bytes()
    try:
        os.utime(far)  # another time alone is no change
        assert "far.npy" not in expect(0, replay(folder)).stderr
        far.write_bytes(kept[:-8] + b"\1" * 8)
        assert "far.npy, which the run read, has changed" in replay(folder).stderr
    finally:
        far.write_bytes(kept)


def test_a_changed_file_that_was_only_read_is_refused_by_name(recorded):
    folder = recorded("50M")
    data = folder / "data.npy"
    kept = data.read_bytes()
    try:
        data.write_bytes(kept[:-8] + b"\1" * 8)
        done = expect(2, replay(folder))
        assert "data.npy" in done.stderr
    finally:
        data.write_bytes(kept)
        os.utime(data, (1e9, 1e9))


def test_over_budget_is_shown_and_refused(recorded, tmp_path: Path):
    folder = recorded("900K")  # room for two of six
    files = meta_of(folder)["files"]
    lost = {entry["path"]: entry["bytes"] for entry in files if "lost" in entry}
    assert sum("ref" in entry for entry in files if entry["bytes"] >= SIZE) == 2
    assert len(lost) == 4
    shown = expect(0, flor("show", cwd=folder, store=folder / ".flor")).stdout
    done = expect(2, replay(folder))
    for name, size in lost.items():
        assert f"{name} ({size:,} bytes) is not kept" in shown
        assert f"{name}, {size:,} bytes" in done.stderr
    assert "--files-budget" in done.stderr
    assert "Traceback" not in done.stderr

    fresh = tmp_path / "fresh" / "work"  # what the message asks for: put back, it replays
    fill(fresh)
    for name in lost:
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(fresh / name, target)
    expect(0, replay(folder))


UNHEARD = """
import ctypes
libc = ctypes.CDLL(None)
for epoch in range(3):
    print(epoch)
    libc.truncate(b"weights.bin", 800)
    libc.truncate(b"weights.bin", {size})
"""


def test_what_is_changed_unheard_is_named(tmp_path: Path):
    folder = tmp_path / "work"
    fill(folder)
    (folder / "train.py").write_text(UNHEARD.format(size=SIZE))
    expect(0, flor("record", "train.py", cwd=folder, store=folder / ".flor"))
    found = next(e for e in meta_of(folder)["files"] if e["path"] == "weights.bin")
    assert "unseen" in found["lost"]
    assert (folder / "weights.bin").stat().st_size == found["bytes"]
    done = expect(2, flor("replay", cwd=folder, store=folder / ".flor"))
    assert "weights.bin" in done.stderr
    (folder / "train.py").write_text("import flor\nflor.log('a', 1)\n")
    done = run(sys.executable, "train.py", cwd=folder, store=folder / ".f", FLOR_FILES_BUDGET="x")
    assert "FLOR_FILES_BUDGET=X" in done.stderr.upper()
