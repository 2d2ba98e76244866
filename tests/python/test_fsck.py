"""fsck finds damage by name; a repair leaves a store in which all that is whole works."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from querykit import at, new_replay, new_run
from replaykit import record

from flor import _core
from flor.cli.main import main
from flor.layout import StoreLayout
from flor.upkeep.check import Findings, check


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run of 13 checkpoints of states of its own, a run with arrays, a replay."""
    folder = tmp_path_factory.mktemp("made")
    layout = record(folder, durable=False).layout
    run = layout.run_ids()[0]
    rng = np.random.default_rng(7)
    store = _core.ChunkStore(str(layout.root))
    taker = _core.Snapshotter(store)
    layout.checkpoint_dir(run).mkdir()
    for number in range(13):
        state = [b"frozen" * 30_000, rng.bytes(200_000), bytes([number]) * 10_000]
        taker.take(state, str(layout.checkpoint_dir(run) / f"{number}.ckpt"), b"{}").wait()
    taker.close()
    store.close()
    second = new_run(layout, [(at(epoch=n), "w", rng.standard_normal(9000)) for n in range(4)])
    new_replay(layout, second, [(at(epoch=1), "p", 1.0)])
    return layout.root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "store"))


def fsck(root: Path, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["fsck", *words, "--store", str(root)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.output
    return done.exit_code, done.output


def found(root: Path) -> Findings:
    return check(StoreLayout.open(root))


def packs(root: Path) -> list[Path]:
    return sorted((root / "packs").glob("*.pack"), key=lambda path: path.stat().st_size)


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x20
    path.write_bytes(content)


def every_checkpoint_reads(root: Path) -> int:
    store = _core.ChunkStore(str(root), readonly=True)
    count = 0
    for path in root.glob("runs/*/checkpoints/*.ckpt"):
        reader = _core.CheckpointReader(store, str(path))
        assert reader.verify() == []
        assert bytes(reader.read(0)) == b"frozen" * 30_000
        count += 1
    store.close()
    return count


def test_a_whole_store_is_well(root: Path):
    code, output = fsck(root)
    assert code == 0 and "all is well" in output and "13 checkpoints" in output
    before = sorted(path for path in root.rglob("*") if path.is_file())
    assert fsck(root, "--repair")[0] == 0
    assert sorted(path for path in root.rglob("*") if path.is_file()) == before


def test_a_flipped_byte_names_the_pack_the_chunk_and_who_needs_it(root: Path):
    store = _core.ChunkStore(str(root), readonly=True)
    victim = max(root.glob("runs/*/checkpoints/*.ckpt"), key=lambda path: int(path.stem))
    whole = bytes(_core.CheckpointReader(store, str(victim)).read(1))
    store.close()
    pack = packs(root)[-1]
    flip(pack, pack.read_bytes().index(whole[1000:1100]))  # random bytes are stored as they are
    code, output = fsck(root)
    assert code == 4
    assert pack.name in output and "fails its checksum" in output
    assert f"checkpoint {victim.stem} of run" in output
    code, output = fsck(root, "--repair")
    assert code == 0, output
    aside = list(root.glob("lost+found/*/packs/*.pack"))
    assert [path.name for path in aside] == [pack.name]
    assert list(root.glob("lost+found/*/runs/*/checkpoints/*.ckpt"))
    assert every_checkpoint_reads(root) == 12
    assert fsck(root)[0] == 0


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
def test_a_truncated_pack_costs_only_what_was_cut(root: Path, share: float):
    pack = packs(root)[-1]
    with pack.open("r+b") as file:
        file.truncate(int(pack.stat().st_size * share))
    code, output = fsck(root)
    assert code == 4 or share == 0.999, output
    lost = {damage.path.stem for damage in found(root).of_kind("checkpoint")}
    code, output = fsck(root, "--repair")
    assert code == 0, output
    assert every_checkpoint_reads(root) == 13 - len(lost)
    assert fsck(root)[0] == 0


def test_a_manifest_a_version_a_replay_and_a_run_that_are_damaged(root: Path):
    run, second = StoreLayout.open(root).run_ids()
    flip(root / f"runs/{run}/checkpoints/5.ckpt", 150)
    version = next((root / "versions").glob("*.json"))
    version.write_text("{ damaged")
    next(root.glob("runs/*/replays/*/replay.json")).write_bytes(b"\xff")
    (root / f"runs/{second}/run.json").write_text("[]")
    code, output = fsck(root)
    assert code == 4
    for name in ("checkpoints/5.ckpt", version.name, "replay.json", f"{second}/run.json"):
        assert name in output, output
    code, output = fsck(root, "--repair")
    assert code == 0, output
    assert every_checkpoint_reads(root) == 12
    shown = CliRunner().invoke(main, ["logs", second, "--store", str(root), "--format", "jsonl"])
    rows = [json.loads(line) for line in shown.output.splitlines()]
    assert [row["name"] for row in rows] == ["w"] * 4
    assert "is lost, as known" in fsck(root)[1]


def test_a_log_with_damage_is_read_around_it_after_a_repair(root: Path):
    run = StoreLayout.open(root).run_ids()[0]
    segment = max(root.glob(f"runs/{run}/log/*.seg"), key=lambda path: path.stat().st_size)
    flip(segment, segment.stat().st_size - 20)
    words = ["logs", run, "--store", str(root)]
    assert CliRunner().invoke(main, words).exit_code == 4
    code, output = fsck(root)
    assert code == 4 and f"runs/{run}/log" in output
    assert fsck(root, "--repair")[0] == 0
    assert CliRunner().invoke(main, words).exit_code == 0
    assert "blocks lost, as known" in fsck(root)[1]


def test_a_pack_in_use_stays_and_is_told(root: Path):
    pack = packs(root)[-1]
    flip(pack, pack.stat().st_size // 2)
    writer = _core.ChunkStore(str(root))
    assert writer.put(b"frozen" * 30_000)  # relies on what is there
    in_use = [path for path in packs(root) if path == pack]
    code, output = fsck(root, "--repair")
    assert code == 4 and "a living process uses it" in output and in_use
    writer.close()
    assert fsck(root, "--repair")[0] == 0


def test_a_damaged_index_is_told_left_aside_and_made_anew(root: Path):
    store = _core.ChunkStore(str(root))
    refs = [store.put(number.to_bytes(8, "little")) for number in range(5000)]
    store.close()
    index = root / "chunks.index"
    flip(index, index.stat().st_size // 2)
    reader = _core.ChunkStore(str(root), readonly=True)
    assert reader.get(refs[77]) == (77).to_bytes(8, "little")
    reader.close()
    code, output = fsck(root)
    assert code == 4 and "chunks.index" in output
    assert fsck(root, "--repair")[0] == 0
    assert fsck(root)[0] == 0 and every_checkpoint_reads(root) == 13
    gone = CliRunner().invoke(main, ["gc", "--store", str(root)])
    assert gone.exit_code == 0, gone.output
    fresh = _core.ChunkStore(str(root), readonly=True)
    assert not fresh.contains(refs[77]) and fresh.index_problem() is None
    fresh.close()
    assert every_checkpoint_reads(root) == 13


@pytest.mark.parametrize("seed", range(6))
def test_any_damage_is_found_and_after_a_repair_all_is_well(root: Path, seed: int):
    """Random bytes and lengths of random files; what fsck calls well reads back as it was."""
    rng = random.Random(seed)
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.stat().st_size > 64)
    files = [path for path in files if path.name != "flor.json"]
    for path in rng.sample(files, 4):
        size = path.stat().st_size
        if rng.random() < 0.3:
            with path.open("r+b") as file:
                file.truncate(rng.randrange(size))
        else:
            flip(path, rng.randrange(size))
    fsck(root)
    code, output = fsck(root, "--repair")
    assert code == 0, output
    assert fsck(root)[0] == 0
    every_checkpoint_reads(root)
    for run in StoreLayout.open(root).run_ids():
        done = CliRunner().invoke(main, ["logs", run, "--store", str(root), "--format", "jsonl"])
        assert done.exit_code in (0, 4) and "Traceback" not in done.output
