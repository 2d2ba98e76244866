"""Intermediates of networks: what plain hooks see, bit for bit, and nothing else disturbed."""

from __future__ import annotations

import copy
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networkkit import (
    BATCH,
    ROWS,
    ConvNet,
    Recurrent,
    Transformer,
    cut,
    data_for,
    everything_of,
    expected,
    make,
    same,
)
from oracle import environment
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

import flor
from flor.errors import (
    CaptureError,
    ChangedError,
    InvalidError,
    LayerNotFoundError,
    RowNotFoundError,
)
from flor.intermediate.networks.network import Network


def network(kind=ConvNet, **options):
    return Network(make(kind), data_for(kind), batch=BATCH, **options)


@pytest.mark.parametrize("kind", [ConvNet, Transformer, Recurrent])
def test_captured_values_are_those_of_plain_hooks(kind, tmp_path):
    net, data = make(kind), data_for(kind)
    net.train()
    before = everything_of(net)
    h = flor.intermediates(net, layers="*", data=data, batch=BATCH, store=tmp_path / "store")
    assert same(everything_of(net), before)
    wanted = expected(kind, net, data)
    assert {name for name in h.layers if "[" not in name} <= set(wanted)
    for name in h.layers:
        if name in wanted:  # the Transformer's root returns a dict
            values = h.read(name)
            assert np.array_equal(values.numpy(), wanted[name]), name
            assert np.array_equal(values.row_id, np.arange(ROWS))
    if kind is Transformer:
        logits = wanted["own"].mean(axis=1)
        assert h.read("(output)[logits]").numpy().shape == (ROWS, 3)
        assert np.array_equal(h.read("(output)[hidden]").numpy(), wanted["own"])
        assert np.isfinite(logits).all()


@pytest.mark.parametrize("kind", [ConvNet, Transformer, Recurrent])
def test_any_rows_are_computed_again_as_they_were(kind):
    found, wanted = network(kind), expected(kind, make(kind), data_for(kind))
    rows = np.array([17, 2, 9])
    shared = [name for name in found.layers() if name in wanted]
    for name in {*shared[:: len(shared) // 3], shared[-1]}:
        ids, values = found.compute(name, rows)
        assert np.array_equal(ids, rows) and np.array_equal(values, wanted[name][rows]), name


def test_a_kept_ancestor_is_enough_in_containers_of_torch():
    found, wanted = network(), expected(ConvNet, make(ConvNet), data_for(ConvNet))
    assert list(found.parents("features.4")) == ["features.3"]
    assert list(found.parents("features")) == ["features.5"]
    assert list(found.parents("features.5.0")) == ["features.4"]
    assert list(found.parents("features.3.norm")) == []  # a forward of the user may choose
    runs = []
    hook = found.net.features[0].register_forward_pre_hook(lambda *_: runs.append(1))
    fresh = Network(found.net, data_for(ConvNet), batch=BATCH)
    runs.clear()
    given = {"features.2": wanted["features.2"]}
    for name in ("features.3", "features.5.1", "features"):
        assert np.array_equal(fresh.compute(name, None, given)[1], wanted[name]), name
    whole = np.arange(BATCH, 2 * BATCH)
    part = {"features.2": wanted["features.2"][whole]}
    assert np.array_equal(fresh.compute("features", whole, part)[1], wanted["features"][whole])
    assert not runs  # never from the input
    odd = np.array([3, 9])  # no whole batches: its bits could differ, so it begins at the input
    part = {"features.2": np.zeros_like(wanted["features.2"][odd])}
    assert np.array_equal(fresh.compute("features", odd, part)[1], wanted["features"][odd])
    assert runs
    assert np.array_equal(fresh.together(odd), np.arange(16))
    hook.remove()


def test_a_pass_stops_at_the_last_layer_that_is_asked_for():
    found, ran = network(), []
    hook = found.net.head.register_forward_pre_hook(lambda *_: ran.append(1))
    fresh = Network(found.net, data_for(ConvNet), batch=BATCH)
    ran.clear()
    fresh.compute("features")
    assert not ran
    fresh.compute("head.0", [0])
    assert len(ran) == 1
    hook.remove()


def test_gradients_are_those_of_autograd_and_leave_no_trace():
    net, data = make(ConvNet), data_for(ConvNet)
    labels = torch.arange(ROWS) % 3

    def loss(output, batch):
        return F.cross_entropy(output, batch[1])

    before = everything_of(net)
    options = {"what": ("gradient", "output"), "loss": loss, "batch": BATCH}
    found = Network(net, (data, labels), **options)
    got = {name: found.compute(name)[1] for name in ("features.0:gradient", "head.1:gradient")}
    assert same(everything_of(net), before)
    net.eval()
    seen: dict[str, list] = {"features.0": [], "head.1": []}
    for batch, target in zip(cut(data), cut(labels), strict=True):
        outs = {}
        hooks = [
            net.features[0].register_forward_hook(lambda m, a, o: outs.update({"features.0": o})),
            net.head[1].register_forward_hook(lambda m, a, o: outs.update({"head.1": o})),
        ]
        error = F.cross_entropy(net(batch), target)
        for name, gradient in zip(
            outs, torch.autograd.grad(error, list(outs.values())), strict=True
        ):
            seen[name].append(gradient)
        for hook in hooks:
            hook.remove()
    for name, parts in seen.items():
        assert np.array_equal(got[f"{name}:gradient"], torch.cat(parts).numpy()), name
    for parameter in net.parameters():
        parameter.requires_grad_(False)  # frozen: the same gradients
    frozen = Network(net, (data, labels), **options)
    assert np.array_equal(frozen.compute("head.1:gradient")[1], got["head.1:gradient"])


def test_attention_maps_of_torch_and_of_own_modules():
    net, data = make(Transformer), data_for(Transformer)
    found = Network(net, data, batch=BATCH, what="attention")
    maps = found.compute("encoder.layers.1.self_attn:attention")[1]
    net.eval()
    inputs: list[torch.Tensor] = []
    hook = net.encoder.layers[1].self_attn.register_forward_pre_hook(
        lambda m, a: inputs.append(a[0].detach().clone())
    )
    queries: list[torch.Tensor] = []
    other = net.own.qkv.register_forward_hook(lambda m, a, o: queries.append(o.detach().clone()))
    with torch.no_grad():
        for batch in cut(data):
            net(batch)
        hook.remove()
        other.remove()
        attention = net.encoder.layers[1].self_attn
        wanted = [attention(x, x, x, average_attn_weights=False)[1] for x in inputs]
    assert np.array_equal(maps, torch.cat(wanted).numpy())
    own = found.compute("own:attention")[1]
    qkv = torch.cat(queries).view(ROWS, 6, 3, 4, 4).permute(2, 0, 3, 1, 4)
    scores = (qkv[0] @ qkv[1].transpose(-2, -1)) / 4**0.5
    hidden = torch.ones(6, 6, dtype=torch.bool).triu(1)
    formula = scores.masked_fill(hidden, float("-inf")).softmax(-1)
    assert own.shape == (ROWS, 4, 6, 6)
    assert np.allclose(own, formula.numpy(), atol=1e-6)
    outputs = Network(net, data, batch=BATCH, what=("attention", "output")).compute("own")[1]
    assert np.array_equal(outputs, Network(net, data, batch=BATCH).compute("own")[1])


class Images(Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return {"x": self.data[index]}


class Stream(IterableDataset):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return iter(self.data)


@pytest.mark.parametrize(
    "form",
    ["tensor", "array", "tuple", "dict", "shuffled", "dataset", "listed", "streamed"],
)
def test_rows_are_the_datasets_whatever_form_it_has(form):
    net, data = make(ConvNet), data_for(ConvNet)
    forms = {
        "tensor": data,
        "array": data.numpy(),
        "tuple": (data, torch.arange(ROWS)),
        "dict": {"x": data},
        "shuffled": DataLoader(TensorDataset(data), BATCH, shuffle=True, drop_last=True),
        "dataset": Images(data),
        "listed": cut(data),
        "streamed": DataLoader(Stream(data), BATCH),
    }
    torch.manual_seed(11)
    state = torch.get_rng_state()
    found = Network(net, forms[form], batch=BATCH)
    ids, values = found.compute("features")
    assert torch.equal(torch.get_rng_state(), state)
    wanted = expected(ConvNet, net, data)["features"]
    assert np.array_equal(ids, np.arange(ROWS)) and np.array_equal(values, wanted)
    assert np.array_equal(found.compute("features", [9])[1], wanted[[9]])


def test_rows_of_a_subset_keep_the_indices_of_its_sampler():
    data = data_for(ConvNet)
    loader = DataLoader(TensorDataset(data), 4, sampler=[20, 3, 8, 5])
    found = Network(make(ConvNet), loader)
    ids, values = found.compute("features")
    assert ids.tolist() == [3, 5, 8, 20]
    chosen = Network(make(ConvNet), Subset(TensorDataset(data), [3, 5, 8, 20]), batch=4)
    assert np.array_equal(values, chosen.compute("features")[1])


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 4))

    def forward(self, x):
        return self.net(x + torch.rand_like(x) + np.random.rand())


def test_a_network_that_draws_in_eval_mode_draws_the_same_again():
    data = torch.randn(10, 5)
    found = Network(make(Noisy), data, batch=4)
    first = found.compute("net.1")[1]
    torch.rand(3)
    assert np.array_equal(found.compute("net.1")[1], first)
    assert np.array_equal(found.compute("net.1", [5])[1], first[[5]])
    assert list(found.parents("net.1")) == []


# -- fingerprints ----------------------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.scale = nn.Linear(5, 4), 2.0

    def forward(self, x):
        return helped(self.linear(x)) * self.scale


def helped(x):
    return x + 1


def test_the_fingerprint_follows_what_is_computed_and_nothing_else(monkeypatch):
    net, data = make(Scaled), torch.randn(6, 5)

    def model(of=net):
        return Network(of, data).model

    first = model()
    net.train()
    net(data).sum().backward()
    net.linear.weight.requires_grad_(False)
    assert model() == first and model(copy.deepcopy(net)) == first
    with torch.no_grad():
        net.linear.weight.data[3, 4] += 1e-6
    assert model() != first
    with torch.no_grad():
        net.linear.weight.data[3, 4] -= 1e-6
    net.linear.weight.data.copy_(make(Scaled).linear.weight)
    assert model() == first
    net.scale = 3.0
    assert model() != first
    net.scale = 2.0
    hook = net.linear.register_forward_hook(lambda m, a, o: o * 2)
    assert model() != first
    hook.remove()
    monkeypatch.setitem(globals(), "helped", lambda x: x + 2)
    assert model() != first
    monkeypatch.undo()
    assert model() == first
    monkeypatch.setattr(Scaled, "forward", lambda self, x: self.linear(x))
    assert model() != first


def test_the_fingerprint_is_the_same_in_another_process(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import torch; torch.set_num_threads(int(sys.argv[2]))\n"
        "from networkkit import *\n"
        "from flor.intermediate.networks.network import Network\n"
        "for kind in (ConvNet, Transformer, Recurrent):\n"
        "    found = Network(make(kind), data_for(kind), batch=BATCH)\n"
        "    print(found.model, found.data.fingerprint)\n"
    )
    words = [sys.executable, "-c", program, str(__file__).rpartition("/")[0]]
    words.append(str(torch.get_num_threads()))
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, env=environment(tmp_path)
    )
    here = [network(kind) for kind in (ConvNet, Transformer, Recurrent)]
    assert done.stdout.split() == [x for n in here for x in (n.model, n.data.fingerprint)]


# -- bad input -------------------------------------------------------------------------------------


def test_unknown_layers_name_the_nearest():
    with pytest.raises(LayerNotFoundError, match=r"features\.44.*nearest: features\.4"):
        network().compute("features.44")
    with pytest.raises(LayerNotFoundError, match=r"no layer matches 'feature\.\*'"):
        flor.intermediates(make(ConvNet), layers="feature.*", data=data_for(ConvNet))
    with pytest.raises(LayerNotFoundError, match=r"lstm\[0\], lstm\[1\]\[0\]"):
        network(Recurrent).compute("lstm")
    with pytest.raises(LayerNotFoundError, match="Conv3d"):
        flor.intermediates(make(ConvNet), layers=nn.Conv3d, data=data_for(ConvNet))


def test_a_layer_that_never_ran_is_told_from_an_unknown_one(tmp_path):
    h = flor.intermediates(make(ConvNet), data=data_for(ConvNet), store=tmp_path / "store")
    with pytest.raises(LayerNotFoundError, match="'unused' is a module .* never ran"):
        h.topk("unused", 0)
    with pytest.raises(LayerNotFoundError, match="'unused' is a module .* never ran"):
        network().compute("unused")


def test_rows_out_of_range():
    with pytest.raises(RowNotFoundError, match=f"no row {ROWS}.*0 to {ROWS - 1}"):
        network().compute("features", [0, ROWS])


class Odd(nn.Module):
    """Layers that are no arrays of rows."""

    def __init__(self):
        super().__init__()
        self.text, self.total, self.own = Text(), Total(), nn.Linear(5, 4)

    def forward(self, x):
        self.text(x)
        self.total(x)
        return self.own(x)


class Text(nn.Module):
    def forward(self, x):
        return "text"


class Total(nn.Module):
    def forward(self, x):
        return x.sum(0)


def test_outputs_that_are_no_rows_are_errors_by_name_and_left_out_of_patterns(tmp_path):
    net, data = Odd(), torch.randn(7, 5)
    with pytest.raises(CaptureError, match="'text' puts out a str"):
        flor.intermediates(net, layers="text", data=data, store=tmp_path / "store")
    with pytest.raises(CaptureError, match=r"'total' has the shape \(5,\) for 7 rows"):
        Network(net, data).compute("total")
    with pytest.warns(UserWarning, match="left out: layer 'text'.*; layer 'total'"):
        h = flor.intermediates(net, layers="*", data=data, store=tmp_path / "store")
    assert list(h.layers) == ["own", "(output)"]


class Jagged(nn.Module):
    def __init__(self):
        super().__init__()
        self.own, self.late = nn.Linear(5, 4), nn.Identity()

    def forward(self, x):
        out = self.own(x)
        return self.late(out) if x[0, 0] > 0 else out[:, :3]


def test_ragged_layers_and_ways_that_not_all_rows_go(tmp_path):
    net, data = Jagged(), torch.ones(8, 5)
    data[4:, 0] = -1
    store = tmp_path / "store"
    with pytest.raises(CaptureError, match=r"'\(output\)' is ragged.*rows 4 to 7"):
        flor.intermediates(net, layers="(output)", data=data, batch=4, store=store)
    with pytest.raises(CaptureError, match="'late' ran for the first batch .* not for rows 4 to 7"):
        flor.intermediates(net, layers=["own", "late"], data=data, batch=4, store=store)
    with pytest.raises(CaptureError, match="data is ragged"):
        flor.intermediates(net, data=(data, data[:3]), store=store)


def test_a_network_or_data_that_changed_since():
    found = network()
    found.compute("features")
    with torch.no_grad():
        found.net.features[0].weight[0, 0, 0, 0] += 1
    with pytest.raises(ChangedError, match="network has changed"):
        found.compute("features")
    data = data_for(ConvNet)
    found = Network(make(ConvNet), data, batch=BATCH)
    data[9, 0, 0, 0] += 1
    found.compute("features", [0])
    with pytest.raises(ChangedError, match="rows 8 to 15 of the data"):
        found.compute("features", [8])


class Augmented(Images):
    def __getitem__(self, index):
        return {"x": self.data[index] + torch.rand(1)}


def test_data_that_read_differently_each_time_are_refused():
    with pytest.raises(ChangedError, match="augmentation"):
        Network(make(ConvNet), Augmented(data_for(ConvNet))).compute("features")


def test_data_of_no_known_form():
    net = make(ConvNet)
    with pytest.raises(InvalidError, match="generator.*list"):
        Network(net, (batch for batch in cut(data_for(ConvNet))))
    with pytest.raises(InvalidError, match="no rows"):
        Network(net, torch.zeros(0, 3, 8, 8))
    with pytest.raises(InvalidError, match="what='logits'"):
        Network(net, data_for(ConvNet), what="logits")
    with pytest.raises(InvalidError, match="loss="):
        Network(net, data_for(ConvNet), what="gradient")


def test_what_has_no_maps_is_not_pooled(tmp_path):
    options = {"batch": BATCH, "code": "pool2+affine8", "store": tmp_path / "store"}
    h = flor.intermediates(
        make(ConvNet), layers=["features.*", "head.1"], data=data_for(ConvNet), **options
    )
    wanted = expected(ConvNet, make(ConvNet), data_for(ConvNet))
    loose = h.read("head.1", accuracy="any").numpy()
    assert 0 < np.abs(loose - wanted["head.1"]).max() < 0.05
    assert np.array_equal(h.read("head.1").numpy(), wanted["head.1"])
