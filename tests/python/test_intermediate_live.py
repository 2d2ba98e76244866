"""Capture while a program runs its network: it computes what it would have without."""

from __future__ import annotations

import copy
import math

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
from torch import nn

import flor
from flor.errors import CaptureError, InvalidError, LayerNotFoundError


def steps(net, data, epochs=2):
    """Train; return what plain hooks saw of features.3 in each step, and its gradients."""
    labels = torch.arange(len(data)) % 3
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    seen, gradients = [], []

    def keep(module, args, output):
        seen.append(output.detach().clone())
        output.register_hook(lambda g: gradients.append(g.clone()))

    hook = net.features[3].register_forward_hook(keep)
    torch.manual_seed(21)
    for _ in range(epochs):
        for batch, target in zip(cut(data), cut(labels), strict=True):
            optimizer.zero_grad()
            F.cross_entropy(net(batch), target).backward()
            optimizer.step()
    hook.remove()
    return torch.cat(seen).numpy(), torch.cat(gradients).numpy()


@pytest.mark.parametrize("code", ["exact", "affine8"])
def test_a_training_that_is_captured_is_the_same_bit_for_bit(code, tmp_path):
    data = data_for(ConvNet)
    net, plain = make(ConvNet), make(ConvNet)
    wanted = steps(plain, data)
    what = ("output", "input", "gradient")
    options = {"code": code, "store": tmp_path / "store", "overhead": math.inf}
    with flor.intermediates(net, layers="features.*", what=what, **options) as h:
        seen = steps(net, data)
    assert same(everything_of(net), everything_of(plain))
    assert all(np.array_equal(a, b) for a, b in zip(seen, wanted, strict=True))
    assert (h.passes, h.captured) == (6, 6)
    for name, values in zip(("features.3", "features.3:gradient"), seen, strict=True):
        found = h.read(name, accuracy="any")
        assert np.array_equal(found.row_id, np.arange(2 * ROWS))
        error = np.abs(found.numpy() - values).max()
        assert error == 0 if code == "exact" else error <= found.error


def test_attention_of_a_training_draws_nothing(tmp_path):
    data, results = data_for(Transformer), []
    for captured in (True, False):
        net = make(Transformer)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        torch.manual_seed(4)
        what = ("attention", "output")
        block = flor.intermediates(net, what=what, store=tmp_path / "s", overhead=math.inf)
        if captured:
            with block:
                net(data)["logits"].sum().backward()
            assert block.read("own:attention").numpy().shape == (ROWS, 4, 6, 6)
        else:
            net(data)["logits"].sum().backward()
        optimizer.step()
        results.append(everything_of(net))
    assert same(*results)


def test_rows_are_numbered_in_order_or_as_told(tmp_path):
    net, data = make(ConvNet).eval(), data_for(ConvNet)
    wanted = expected(ConvNet, net, data)["features.4"]
    with torch.no_grad():
        with flor.intermediates(net, layers="features.4", store=tmp_path / "s") as h:
            for batch in cut(data):
                net(batch)
        assert np.array_equal(h.read("features.4").numpy(), wanted)
        order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(2))
        with flor.intermediates(net, layers="features.4", store=tmp_path / "s") as h:
            for rows in cut(order):
                h.rows(rows)
                net(data[rows])
    found = h.read("features.4", rows=[4, 19])
    assert np.allclose(found.numpy(), wanted[[4, 19]], atol=1e-5)


def test_batches_that_do_not_fit_the_bound_are_passed_over(tmp_path):
    net, data = make(ConvNet), data_for(ConvNet)
    plain = copy.deepcopy(net)
    wanted, _ = steps(plain, data)
    options = {"layers": "features.3", "store": tmp_path / "store"}
    with flor.intermediates(net, overhead=1e-12, **options) as h:
        steps(net, data)
    assert (h.passes, h.captured) == (6, 1)
    found = h.read("features.3")
    assert np.array_equal(found.row_id, np.arange(BATCH))
    assert np.array_equal(found.numpy(), wanted[:BATCH])
    assert same(everything_of(net), everything_of(plain))


def test_a_decorated_function_is_captured_each_time(tmp_path):
    net, data = make(ConvNet).eval(), data_for(ConvNet)

    @flor.intermediates(net, layers=nn.MaxPool2d, store=tmp_path / "store")
    def evaluate(rows):
        """Say what it is."""
        with torch.no_grad():
            return net(data[rows]).argmax(1)

    assert evaluate.__doc__ == "Say what it is."
    for rows in (slice(0, 4), slice(4, 9)):
        out = evaluate(rows)
        found = evaluate.intermediates.read("features.4").numpy()
        assert len(found) == len(out)
    assert np.allclose(found, expected(ConvNet, net, data)["features.4"][4:9], atol=1e-5)


def test_shared_modules_and_rows_on_the_second_axis(tmp_path):
    net, data = make(Recurrent).eval(), data_for(Recurrent)
    wanted = expected(Recurrent, net, data)
    with torch.no_grad(), flor.intermediates(net, layers="*", store=tmp_path / "s") as h:
        for batch in cut(data):
            net(batch)
    for name in ("mix", "mix#2", "lstm[0]", "lstm[1][1]"):
        assert np.array_equal(h.read(name).numpy(), wanted[name]), name


def test_which_axis_the_rows_are_on_is_not_guessed(tmp_path):
    net, data = make(Recurrent).eval(), data_for(Recurrent, 6)  # as many rows as steps
    block = flor.intermediates(net, layers="lstm", store=tmp_path / "s")
    with pytest.raises(CaptureError, match="batch_first.*which axis"), block:
        net(data)


def test_what_is_asked_in_the_wrong_moment_or_never_ran(tmp_path):
    net, data = make(ConvNet), data_for(ConvNet)
    options = {"store": tmp_path / "store"}
    with pytest.raises(InvalidError, match="nothing is captured yet.*'read'"):
        flor.intermediates(net, **options).read("features")
    with pytest.raises(LayerNotFoundError, match=r"'features\.33'.*nearest"):
        flor.intermediates(net, layers="features.33", **options).__enter__()
    block = flor.intermediates(net, layers=["unused", "head"], **options)
    with pytest.raises(LayerNotFoundError, match="'unused' never ran inside the block"), block:
        net(data)
    assert len(block.read("head").numpy()) == ROWS
    with pytest.raises(LayerNotFoundError, match="Call the network itself"):
        with flor.intermediates(net, layers="features.*", **options):
            net.features(data)


def test_row_ids_that_are_wrong(tmp_path):
    net, data = make(ConvNet), data_for(ConvNet)
    with flor.intermediates(net, layers="head", store=tmp_path / "store") as h:
        h.rows(torch.arange(4))
        net(data[:4])
        with pytest.raises(InvalidError, match="row id 3 comes twice"):
            h.rows([7, 3])
        with pytest.raises(InvalidError, match="call it before each batch"):
            net(data[:4])
        h.rows([9, 8])
        with pytest.raises(InvalidError, match="2 ids, the batch has 4 rows"):
            net(data[:4])
        with pytest.raises(InvalidError, match="vector of integers"):
            h.rows([0.5])
    assert h.read("head").row_id.tolist() == [0, 1, 2, 3]


def test_a_block_that_fails_keeps_what_it_had(tmp_path):
    net, data = make(ConvNet), data_for(ConvNet)
    block = flor.intermediates(net, layers="head", store=tmp_path / "store")
    with pytest.raises(ZeroDivisionError), block:
        net(data)
        raise ZeroDivisionError
    assert len(block.read("head").numpy()) == ROWS
    assert not net._forward_hooks and not net.head._forward_hooks
