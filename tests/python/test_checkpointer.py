"""flor.Checkpointer and flor.Logger, the tools that stand alone."""

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import flor
from flor import _core
from flor.capture.checkpoint_file import CheckpointFile
from flor.errors import CheckpointNotFoundError, ClosedError, InvalidError


def make():
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
    return net, torch.optim.AdamW(net.parameters(), lr=0.01)


def train(net, optimizer):
    loss = torch.nn.functional.cross_entropy(net(torch.randn(16, 4)), torch.randint(0, 2, (16,)))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def test_restore_is_in_place_and_exact(tmp_path):
    net, optimizer = make()
    weights, groups, history = net[0].weight, optimizer.param_groups[0], []
    with flor.Checkpointer(
        tmp_path / "s", {"model": net, "optimizer": optimizer, "h": history}
    ) as ck:
        for _ in range(3):
            history.append(train(net, optimizer))
            ck.step()
        ck.save().wait()
        expected = [train(net, optimizer) for _ in range(4)]
        assert ck.restore() == 3
        assert len(history) == 3
        assert [train(net, optimizer) for _ in range(4)] == expected
        assert net[0].weight is weights and optimizer.param_groups[0] is groups


def test_newest_of_an_earlier_process(tmp_path):
    code = textwrap.dedent("""
        import sys
        sys.path.insert(0, sys.argv[2])
        import flor
        from test_checkpointer import make, train
        net, optimizer = make()
        ck = flor.Checkpointer(sys.argv[1], {"model": net, "optimizer": optimizer})
        for _ in range(2):
            train(net, optimizer); ck.step()
        ck.save().wait()
        print(repr(train(net, optimizer)), flush=True)
        import os; os._exit(1)
    """)
    here = __file__.rpartition("/")[0]
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "s", here],
        check=False,
        capture_output=True,
        text=True,
    )
    net, optimizer = make()
    with flor.Checkpointer(tmp_path / "s", {"model": net, "optimizer": optimizer}) as ck:
        assert ck.restore() == 2
        assert repr(train(net, optimizer)) == done.stdout.strip(), done.stderr


def test_checkpoint_of_a_step_and_what_is_missing(tmp_path):
    net, optimizer = make()
    with flor.Checkpointer(tmp_path / "s", {"model": net, "optimizer": optimizer}) as ck:
        with pytest.raises(CheckpointNotFoundError, match="no checkpoint in"):
            ck.restore()
        kept = {}
        for step in range(1, 4):
            train(net, optimizer)
            ck.step()
            ck.save().wait()
            kept[step] = net[0].weight.detach().clone()
        ck.restore(at=2)
        assert torch.equal(net[0].weight, kept[2])
        with pytest.raises(CheckpointNotFoundError, match="step 9"):
            ck.restore(at=9)
        assert {entry["step"] for entry in ck.checkpoints()} == {1, 2, 3}
    with pytest.raises(ClosedError):
        ck.save()


def test_differently_built_objects_go_through_load_state_dict(tmp_path):
    net, optimizer = make()
    train(net, optimizer)
    with flor.Checkpointer(tmp_path / "s", {"model": net, "optimizer": optimizer}) as ck:
        ck.save().wait()
        expected = [train(net, optimizer) for _ in range(2)]
    fresh, other = make()
    with flor.Checkpointer(tmp_path / "s", {"model": fresh, "optimizer": other}) as ck:
        ck.restore()
        assert [train(fresh, other) for _ in range(2)] == expected


def test_an_atom_is_refused(tmp_path):
    with pytest.raises(InvalidError, match="'lr' is a float"):
        flor.Checkpointer(tmp_path / "s", {"lr": 0.1})


def test_no_budget_no_checkpoint(tmp_path):
    with flor.Checkpointer(tmp_path / "s", {"model": make()[0]}, overhead=0.0) as ck:
        assert not any(ck.step() for _ in range(20))


def test_logger_with_contexts(tmp_path):
    with flor.Logger(tmp_path / "s") as log:
        for epoch in range(3):
            assert log.log("loss", epoch / 2, epoch=epoch) == epoch / 2
            log.log("matrix", np.full((2, 2), epoch), epoch=epoch)
        log.flush()
    rows = list(flor.open(tmp_path / "s").logs("loss", "matrix"))
    assert [row["loss"] for row in rows] == [0.0, 0.5, 1.0]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    with pytest.raises(ClosedError):
        log.log("loss", 1.0)


def test_one_part_of_a_checkpoint_is_read_alone(tmp_path):
    net, optimizer = make()
    with flor.Checkpointer(tmp_path / "s", {"model": net, "optimizer": optimizer}) as ck:
        train(net, optimizer)
        ck.save().wait()
        (entry,) = ck.checkpoints()
    store = _core.ChunkStore(str(tmp_path / "s"), readonly=True)
    file = CheckpointFile(store, entry["path"])
    read = []

    def read_regions(regions, buffers):
        read.extend(regions)
        reader.read_regions(regions, buffers)

    reader = file._reader
    file._reader = SimpleNamespace(
        read=reader.read, read_regions=read_regions, regions=reader.regions
    )
    assert torch.equal(file.state("model", "2.weight"), net[2].weight)
    assert len(read) == 1
    moment = optimizer.state[net[0].bias]["exp_avg"]
    assert torch.equal(file.state("optimizer", "state", 1, "exp_avg"), moment)
    assert len(read) == 2
    assert file.state("optimizer", "param_groups")[0]["lr"] == 0.01
    for missing in (["nothing"], ["model", "nothing"], ["model", "2.weight", "deeper"]):
        with pytest.raises(KeyError):
            file.state(*missing)
