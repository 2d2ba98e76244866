"""stats: the bytes add up, and each mechanism is credited with what it saved."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from querykit import at, new_run

from flor import _core
from flor.cli.main import main
from flor.layout import StoreLayout
from flor.query.summary import folder_bytes

CHUNK = 65536


@pytest.fixture
def layout(tmp_path):
    """Two runs of two checkpoints: noise stored raw, once twice in a checkpoint, and zeros."""
    made = StoreLayout.open(tmp_path / "store", create=True)
    noise = [np.random.default_rng(seed).bytes(CHUNK) for seed in range(6)]
    states = {0: [[0, 0, 1], [0, 0, 2]], 1: [[0, 3, 4], [0, 3, 5]]}
    for number in range(2):
        run = new_run(made, [(at(epoch=0), "w", np.arange(8192.0))], version=None)
        made.checkpoint_dir(run).mkdir()
        store = _core.ChunkStore(str(made.root))
        taker = _core.Snapshotter(store)
        for index, parts in enumerate(states[number]):
            regions = [*(noise[part] for part in parts), bytes(CHUNK)]
            taker.take(regions, str(made.checkpoint_dir(run) / f"{index}.ckpt"), b"{}").wait()
        taker.close()
        store.close()
    return made


def stats(layout):
    done = CliRunner().invoke(main, ["stats", "--json", "--store", str(layout.root)])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_the_bytes_add_up(layout):
    told = stats(layout)
    content = 4 * 4 * CHUNK
    assert [run["raw"] for run in told["runs"]] == [content // 2] * 2
    saved = told["saved"]
    assert saved["within_checkpoints"] == 2 * CHUNK  # the first run's [0, 0]
    # In the first run noise 0 and the zeros, in the second noise 0, noise 3 and the zeros.
    assert saved["across_checkpoints"] == 5 * CHUNK
    assert saved["across_runs"] == 2 * CHUNK
    assert 0.9 * CHUNK < saved["compression"] < CHUNK
    stored = content - sum(saved.values())
    assert next(kind for kind in told["kinds"] if kind["kind"] == "checkpoints")["stored"] == stored
    assert told["live"] + told["dead"] == told["pack_bytes"] == folder_bytes(layout.root / "packs")
    assert sum(row["stored"] for row in told["codecs"]) == told["live"]
    # Noise 1 and 2, and noise 3 to 5; the rest is shared.
    assert [run["own"] for run in told["runs"]] == [2 * CHUNK, 3 * CHUNK]


def test_what_nothing_names_is_dead_until_it_is_collected(layout):
    store = _core.ChunkStore(str(layout.root))
    store.put(np.random.default_rng(9).bytes(300_000))
    store.close()
    before = stats(layout)
    assert before["dead"] > 300_000
    done = CliRunner().invoke(main, ["gc", "--json", "--store", str(layout.root)])
    assert json.loads(done.output)["freed_bytes"] > 290_000
    after = stats(layout)
    assert after["live"] == before["live"] and after["dead"] < 10_000


def test_for_people(layout):
    done = CliRunner().invoke(main, ["stats", "--store", str(layout.root)])
    for words in ("live", "in another run", "raw", "its own"):
        assert words in done.output


def test_an_empty_store(tmp_path):
    told = stats(StoreLayout.open(tmp_path / "new", create=True))
    assert told["chunks"] == 0 and told["runs"] == []
