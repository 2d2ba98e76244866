"""gc: which checkpoints the rules keep, which bytes come back, what runs and replays are spared."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from oracle import expect, flor, logs, run
from querykit import at, new_run

from flor import _core
from flor.cli.main import main
from flor.layout import StoreLayout
from flor.query.summary import folder_bytes
from flor.runlock import using_run

EPOCHS, STATE_BYTES = 10, 100_000
ACCURACY = [0.1, 0.5, 0.9, 0.2, 0.3, 0.4, float("nan"), 0.6, 0.7, 0.8]


def take(layout: StoreLayout, run: str, seed: int) -> None:
    """The entry, then of each epoch its inner loop and its end: 21 checkpoints."""
    rng = np.random.default_rng(seed)
    store = _core.ChunkStore(str(layout.root))
    taker = _core.Snapshotter(store)
    layout.checkpoint_dir(run).mkdir()
    places: list[tuple[str, str, list[Any]]] = [("entry", "epoch", [])]
    for epoch in range(EPOCHS):
        here = [["epoch", epoch]]
        places += [("block", "step", here), ("iteration", "epoch", here)]
    for number, (boundary, loop, context) in enumerate(places):
        meta = {"boundary": boundary, "loop": loop, "context": context, "number": number}
        path = layout.checkpoint_dir(run) / f"{number}.ckpt"
        taker.take([rng.bytes(STATE_BYTES), b"same" * 9000], str(path), json.dumps(meta).encode())
    taker.close()
    store.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layout = StoreLayout.open(tmp_path_factory.mktemp("made") / "store", create=True)
    for seed in (1, 2):
        items = [(at(epoch=n), "acc", value) for n, value in enumerate(ACCURACY)]
        arrays = [(at(epoch=n), "w", np.random.default_rng(n).random(9000)) for n in range(3)]
        take(layout, new_run(layout, items + arrays, version=None), seed)
    return layout.root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "store"))


def gc(root: Path, *words: str, code: int = 0) -> Any:
    done = CliRunner().invoke(main, ["gc", "--json", *words, "--store", str(root)])
    assert done.exit_code == code, done.output
    return json.loads(done.output) if code == 0 else done.output


def numbers(root: Path, run: int = 0) -> list[int]:
    layout = StoreLayout.open(root)
    return [int(path.stem) for path in layout.checkpoint_paths(layout.run_ids()[run])]


def well(root: Path) -> None:
    done = CliRunner().invoke(main, ["fsck", "--store", str(root)])
    assert done.exit_code == 0, done.output


ALWAYS = {0, 20}
RULES = {
    "last=1": {19, 20},
    "last=2": {17, 18, 19, 20},
    "every=4": {1, 2, 9, 10, 17, 18},
    "best=acc:max": {5, 6},
    "best=acc": {1, 2},
    "last=1 every=9": {1, 2, 19, 20},
}


@pytest.mark.parametrize("rules", RULES)
def test_rules_keep_what_they_say(root: Path, rules: str):
    words = [word for rule in rules.split() for word in ("--keep", rule)]
    before, packs = numbers(root), folder_bytes(root / "packs")
    planned = gc(root, *words, "--dry-run")
    assert numbers(root) == before and folder_bytes(root / "packs") == packs
    told = gc(root, *words)
    assert set(numbers(root)) == RULES[rules] | ALWAYS == set(numbers(root, 1))
    assert planned["dropped"] == told["dropped"] and len(told["dropped"]) + told["kept"] == 42
    assert packs - folder_bytes(root / "packs") == told["freed_bytes"]
    assert abs(planned["freed_bytes"] - told["freed_bytes"]) < 2000
    assert told["freed_bytes"] > 0.9 * STATE_BYTES * len(told["dropped"])
    well(root)


def test_without_a_rule_no_checkpoint_goes(root: Path):
    told = gc(root)
    assert told["dropped"] == [] and told["freed_bytes"] == 0
    assert len(numbers(root)) == 21
    well(root)


def test_a_budget_keeps_the_newest_that_fit(root: Path):
    # Both runs together: 4 that always stay, and 6 more; what they share counts once.
    gc(root, "--keep", f"bytes={10 * STATE_BYTES + 40_000}")
    assert numbers(root, 0) == [0, 20]
    assert numbers(root, 1) == [0, *range(14, 21)][-8:]
    well(root)


def test_of_what_other_rules_keep_a_budget_keeps_the_newest(root: Path):
    second = StoreLayout.open(root).run_ids()[1]
    size = f"bytes={4 * STATE_BYTES + 40_000}"
    gc(root, "--run", second, "--keep", "every=4", "--keep", size)
    assert len(numbers(root, 0)) == 21
    assert numbers(root, 1) == [0, 17, 18, 20]
    well(root)


def test_a_metric_that_is_not_there_drops_nothing(root: Path):
    told = gc(root, "--keep", "best=f1:max")
    assert told["dropped"] == [] and "f1" in told["notes"][0]


@pytest.mark.parametrize("rule", ["last=0", "last", "first=3", "bytes=many", "every=-1", "best="])
def test_a_rule_that_is_none_is_told(root: Path, rule: str):
    assert "--keep" in gc(root, "--keep", rule, code=2)


def test_a_run_in_use_keeps_its_checkpoints(root: Path):
    layout = StoreLayout.open(root)
    with using_run(layout.run_dir(layout.run_ids()[0])):
        told = gc(root, "--keep", "last=1")
    assert len(numbers(root, 0)) == 21 and numbers(root, 1) == [0, 19, 20]
    assert "in use" in told["notes"][0]
    well(root)


def test_what_a_living_writer_put_stays_until_it_has_gone(root: Path):
    writer = _core.ChunkStore(str(root))
    content = np.random.default_rng(50).bytes(500_000)
    ref = writer.put(content)
    gc(root)
    assert writer.get(ref) == content
    writer.close()
    assert gc(root)["freed_bytes"] > 500_000


def test_what_a_replay_at_work_has_put_is_named_by_its_parts(root: Path):
    """Its workers have ended, its own log is not written yet."""
    layout = StoreLayout.open(root)
    run = layout.run_ids()[0]
    store = _core.ChunkStore(str(root))
    folder = layout.replays_dir(run) / "now/work/parts/0/log/probes"
    folder.mkdir(parents=True)
    writer = _core.LogWriter(str(folder), "r0-1-0")
    content = np.random.default_rng(60).bytes(300_000)
    ref = store.put(content)
    writer.log_encoded("big", 5 | 0x80, ref)
    writer.close()
    store.close()
    with using_run(layout.run_dir(run)):
        gc(root)
    reader = _core.ChunkStore(str(root), readonly=True)
    assert reader.get(ref) == content
    reader.close()
    assert gc(root)["freed_bytes"] > 290_000  # killed: nobody uses the run any more
    assert not (layout.replays_dir(run) / "now").exists()


def test_nothing_is_collected_where_what_is_needed_is_not_known(root: Path):
    victim = StoreLayout.open(root).checkpoint_paths(StoreLayout.open(root).run_ids()[0])[4]
    content = bytearray(victim.read_bytes())
    content[130] ^= 1
    victim.write_bytes(content)
    before = folder_bytes(root / "packs")
    output = gc(root, code=4)
    assert "4.ckpt" in output and "fsck" in output
    assert folder_bytes(root / "packs") == before


def test_another_collection_at_work_is_told(root: Path):
    store = _core.ChunkStore(str(root))
    sweeper = _core.Sweeper(store)
    assert "another" in gc(root, code=2)
    del sweeper
    store.close()
    gc(root)


PROGRAM = """
import flor
import numpy as np

weights = np.zeros(30_000)
with flor.checkpointing(overhead=1.0, weights=weights):
    for epoch in flor.loop("epoch", range(6)):
        for step in flor.loop("step", range(3)):
            weights += np.random.standard_normal(30_000)
            flor.log("norm", float(np.linalg.norm(weights)))
"""


def test_a_run_replays_from_what_a_collection_left(tmp_path: Path):
    script, store = tmp_path / "train.py", tmp_path / ".flor"
    script.write_text(PROGRAM)
    expect(0, run(sys.executable, script, cwd=tmp_path, store=store))
    before = folder_bytes(store / "packs")
    gc(store, "--keep", "last=1")
    assert folder_bytes(store / "packs") <= before
    well(store)
    script.write_text(PROGRAM + '            flor.log("mean", float(weights.mean()))\n')
    done = expect(0, flor("replay", cwd=tmp_path, store=store))
    assert "verified" in done.stdout
    rows = [row for row in logs(store, tmp_path) if row["name"] == "mean"]
    assert len(rows) == 18
    assert gc(store)["dropped"] == []
    assert [row for row in logs(store, tmp_path) if row["name"] == "mean"] == rows
    well(store)
