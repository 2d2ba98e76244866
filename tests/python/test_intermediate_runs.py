"""Intermediates of recorded runs: the model as it was, by its object or inside its program."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from oracle import environment
from torch import nn

import flor
from flor import _core
from flor.errors import InvalidError, LayerNotFoundError, ReplayError, RunNotFoundError

PROGRAM = """\
import flor, torch
from torch import nn
import nets

torch.set_num_threads(1)
torch.manual_seed(5)
data, labels = torch.randn(40, 6), torch.arange(40) % 3
test = torch.randn(13, 6)
net = nets.make()
average = torch.optim.swa_utils.AveragedModel(net)
optimizer = torch.optim.Adam(net.parameters(), 0.01)
with flor.checkpointing(net=net, average=average.module, optimizer=optimizer):
    for epoch in flor.loop("epoch", range(4)):
        for start in flor.loop("step", range(0, 40, 10)):
            optimizer.zero_grad()
            out = net(data[start : start + 10])
            loss = nn.functional.cross_entropy(out, labels[start : start + 10])
            loss.backward()
            optimizer.step()
            average.update_parameters(net)
            flor.log("loss", loss.item())
        torch.save(net.state_dict(), f"epoch{epoch}.pt")
"""
NETS = """\
from torch import nn

def make():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a run, recorded with a checkpoint an epoch; that of epoch 2 is lost."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "train.py").write_text(PROGRAM)
    (folder / "nets.py").write_text(NETS)
    command = [sys.executable, "-m", "flor", "record", "--overhead", "inf", "train.py"]
    env = environment(folder / ".flor")
    done = subprocess.run(command, check=False, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    store = flor.open(folder / ".flor")
    places = {row["context"][0]["index"]: row for row in _checkpoints(store)}
    places[2]["path"].unlink()
    return folder


def _checkpoints(store):
    from flor.capture.checkpoint_file import CheckpointFile
    from flor.layout import StoreLayout

    layout = StoreLayout.open(store.path)
    chunks = _core.ChunkStore(store.path, readonly=True)
    for path in layout.checkpoint_paths(layout.resolve()):
        meta = CheckpointFile(chunks, path).meta
        if meta["boundary"] == "iteration":
            loop, index = meta["context"][0]
            yield {"context": [{"loop": loop, "index": index}], "path": path}


def net():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def wanted(folder, epoch, data):
    """What a plain hook sees on the state that the program itself saved."""
    own, seen = net(), []
    own.load_state_dict(torch.load(folder / f"epoch{epoch}.pt"))
    own.eval()
    own[2].register_forward_hook(lambda m, a, o: seen.append(o))
    with torch.no_grad():
        own(data)
    return seen[0].numpy()


@pytest.fixture(autouse=True)
def one_thread():
    """As the program has: the last bits depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_model_object_gets_the_state_of_the_run(run, epoch, capfd):
    data, own = torch.randn(9, 6), net()
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    h = flor.intermediates(
        {"net": own}, run="latest", at={"epoch": epoch}, layers="2", data=data,
        store=run / ".flor",
    )  # fmt: skip
    assert np.array_equal(h.read("2").numpy(), wanted(run, epoch, data))
    assert all(torch.equal(before[name], tensor) for name, tensor in own.state_dict().items())
    assert ("executing 1 iterations again" in capfd.readouterr().err) == (epoch == 2)


def test_without_a_model_the_program_itself_computes(run, capfd):
    h = flor.intermediates(
        "net", run="latest", at={"epoch": 1}, layers=["2"], data="test", store=run / ".flor"
    )
    torch.manual_seed(5)
    torch.randn(40, 6)
    data = torch.randn(13, 6)
    assert np.array_equal(h.read("2").numpy(), wanted(run, 1, data))
    logits = h.read("3", rows=[4, 2]).numpy()  # not captured: the program computes again
    own = net()
    own.load_state_dict(torch.load(run / "epoch1.pt"))
    with torch.no_grad():
        assert np.array_equal(logits, own.eval()(data)[[4, 2]].numpy())


def test_data_of_this_process_go_to_the_program(run):
    data = torch.randn(9, 6)
    h = flor.intermediates(
        "average.module", run="latest", at={"epoch": 3}, layers="3", data=(data, data.sum(1)),
        store=run / ".flor",
    )  # fmt: skip
    own = net()
    own.load_state_dict(flor.open(run / ".flor").load(at={"epoch": 3})["average"])
    with torch.no_grad():
        assert np.array_equal(h.read("3").numpy(), own.eval()(data).numpy())


def test_what_can_not_be_told_apart_is_asked_for(run):
    data, options = torch.randn(9, 6), {"at": {"epoch": 1}, "store": run / ".flor"}
    with pytest.raises(InvalidError, match="several states.*net, average.*model={'net'"):
        flor.intermediates(net(), run="latest", data=data, **options)
    with pytest.raises(
        InvalidError, match=r"0\.weight has the shape \(8, 6\) there, \(8, 5\) here"
    ):
        flor.intermediates(nn.Sequential(nn.Linear(5, 8)), run="latest", data=data, **options)
    with pytest.raises(InvalidError, match="several: net, average"):
        flor.intermediates(run="latest", data="test", **options)


def test_errors_of_the_program_s_process_come_back_typed(run):
    options = {"at": {"epoch": 1}, "store": run / ".flor"}
    with pytest.raises(LayerNotFoundError, match="no layer 'conv'"):
        flor.intermediates("net", run="latest", data="test", layers="conv", **options)
    with pytest.raises(InvalidError, match="data='nowhere' is no expression"):
        flor.intermediates("net", run="latest", data="nowhere", layers="2", **options)


def test_places_and_words_that_are_wrong(run):
    options = {"store": run / ".flor"}
    data = torch.randn(9, 6)
    with pytest.raises(RunNotFoundError):
        flor.intermediates(net(), run="2019", data=data, **options)
    with pytest.raises((InvalidError, ReplayError), match="epoch"):
        flor.intermediates({"net": net()}, run="latest", at={"epoch": 9}, data=data, **options)
    with pytest.raises(InvalidError, match="which rows"):
        flor.intermediates(net(), run="latest", **options)
    with pytest.raises(InvalidError, match="names a variable of the recorded program"):
        flor.intermediates(net(), run="latest", data="test", **options)
    with pytest.raises(InvalidError, match="call= and loss="):
        flor.intermediates("net", run="latest", data="test", call=lambda n, b: n(b), **options)
    with pytest.raises(InvalidError, match="names or patterns"):
        flor.intermediates("net", run="latest", data="test", layers=nn.ReLU, **options)
    with pytest.raises(InvalidError, match="intermediates of nothing"):
        flor.intermediates(data=data, **options)
