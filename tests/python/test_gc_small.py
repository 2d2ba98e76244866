"""gc --small: checkpoints as differences to the one before; what was kept restores bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import flor
from flor import _core
from flor.cli.main import main
from flor.layout import StoreLayout
from flor.upkeep.references import manifest_references

torch = pytest.importorskip("torch")

STEPS = 12


def cli(*words: str) -> str:
    done = CliRunner().invoke(main, list(words))
    assert done.exit_code == 0, done.output
    return str(done.output)


def gc(root: Path, *words: str) -> dict[str, Any]:
    return dict(json.loads(cli("gc", "--json", *words, "--store", str(root))))


def training() -> tuple[Any, Any]:
    torch.manual_seed(3)
    model = torch.nn.Sequential(torch.nn.Linear(300, 200), torch.nn.Linear(200, 100))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-4)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, list[Any]]]:
    """A store of many checkpoints, and by the number of ``step()`` the weights at each."""
    root = tmp_path_factory.mktemp("made") / "store"
    model, optimizer = training()
    objects = {"model": model, "optimizer": optimizer}
    weights: dict[int, list[Any]] = {}
    calls = 0
    with flor.Checkpointer(root, objects, overhead=float("inf")) as checkpointer:
        for _ in range(STEPS):
            loss = model(torch.randn(16, 300)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            calls += 1
            while not checkpointer.step():  # the one before is not durable yet
                calls += 1
            weights[calls] = [p.detach().clone() for p in model.parameters()]
    return root, weights


@pytest.fixture
def kept(
    made: tuple[Path, dict[int, list[Any]]], tmp_path: Path
) -> tuple[Path, dict[int, list[Any]]]:
    return Path(shutil.copytree(made[0], tmp_path / "store")), made[1]


def states(root: Path) -> list[list[bytes]]:
    """Return the bytes of all regions of every checkpoint."""
    layout = StoreLayout.open(root)
    store = _core.ChunkStore(str(root), readonly=True)
    return [
        [store.get(ref) for ref in manifest_references(store, path)]
        for run in layout.run_ids()
        for path in layout.checkpoint_paths(run)
    ]


def packed(root: Path) -> int:
    return sum(path.stat().st_size for path in root.glob("packs/*"))


def test_it_takes_fewer_bytes_and_changes_no_state(kept: tuple[Path, dict[int, list[Any]]]) -> None:
    root, weights = kept
    before, states_before = packed(root), states(root)
    done = gc(root, "--small")
    assert done["recoded_chunks"] > 0
    assert before - packed(root) == done["freed_bytes"] > 0
    assert states(root) == states_before
    cli("fsck", "--store", str(root))
    model, optimizer = training()
    with flor.Checkpointer(root, {"model": model, "optimizer": optimizer}) as checkpointer:
        for step in (*weights, next(iter(weights))):
            checkpointer.restore(at=step)
            for now, then in zip(model.parameters(), weights[step], strict=True):
                assert torch.equal(now, then)
    assert gc(root, "--small")["recoded_chunks"] == 0


def test_rules_and_chains(kept: tuple[Path, dict[int, list[Any]]]) -> None:
    root, _ = kept
    gc(root, "--small")
    every = states(root)
    before = packed(root)
    done = gc(root, "--small", "--keep", "last=3")
    assert packed(root) < before * 0.6
    left = {
        int(path.stem)
        for run in StoreLayout.open(root).run_ids()[:1]
        for path in StoreLayout.open(root).checkpoint_paths(run)
    }
    assert states(root) == [every[number] for number in sorted(left)]
    assert len(done["dropped"]) == STEPS - len(left)
    cli("fsck", "--store", str(root))


def test_a_dry_run_changes_nothing(kept: tuple[Path, dict[int, list[Any]]]) -> None:
    root, _ = kept
    before = {path.name: path.read_bytes() for path in root.glob("packs/*.pack")}
    assert gc(root, "--small", "--dry-run")["recoded_chunks"] == 0
    assert {path.name: path.read_bytes() for path in root.glob("packs/*.pack")} == before


def test_a_run_that_is_written_is_left_alone(kept: tuple[Path, dict[int, list[Any]]]) -> None:
    root, _ = kept
    state = {"w": np.random.default_rng(0).random(50_000).astype(np.float32)}
    with flor.Checkpointer(root, {"state": state}) as checkpointer:
        for _ in range(4):
            state["w"] += 1e-4
            checkpointer.save().wait()
        packs = {path.name: path.read_bytes() for path in root.glob("packs/*.pack")}
        done = gc(root, "--small")
        recoded = done["recoded_chunks"]  # of the first run alone
        in_use = [Path(one["path"]).name for one in done["packs"] if one["fate"] == "in use"]
        assert in_use
        assert all((root / "packs" / one).read_bytes() == packs[one] for one in in_use)
        state["w"] += 1e-4
        checkpointer.save().wait()
    assert recoded > 0
    assert gc(root, "--small")["recoded_chunks"] > 0
    assert state["w"].tobytes() in states(root)[-1]
    cli("fsck", "--store", str(root))


def test_what_it_says(kept: tuple[Path, dict[int, list[Any]]]) -> None:
    root, _ = kept
    assert "became differences to their neighbours" in cli("gc", "--small", "--store", str(root))
