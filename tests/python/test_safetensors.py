"""Exports are files that the safetensors library reads."""

import json
import struct

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from flor.errors import InvalidError, StorageError
from flor.query.flatten import split_state
from flor.query.safetensors_file import write_safetensors

DTYPES = [
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.float8_e4m3fn,
    torch.float8_e5m2,
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3)], ids=str)
def test_every_dtype_and_shape(tmp_path, dtype, shape):
    tensor = (torch.rand(shape) * 4).to(dtype)
    tensors, plain = split_state({"a": {"b": tensor}})
    assert plain == {}
    assert write_safetensors(tmp_path / "x", tensors) == 1
    back = load_file(tmp_path / "x")["a.b"]
    assert (back.dtype, back.shape) == (dtype, tensor.shape)
    view = torch.uint8
    assert torch.equal(back.reshape(-1).view(view), tensor.reshape(-1).view(view))


def test_a_training_state(tmp_path):
    net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.125)
    net(torch.rand(4, 3)).sum().backward()
    optimizer.step()
    state = {
        "model": net,
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "best": np.float64(0.5),
        "history": [np.arange(3), "text"],
        "odd": object(),
    }
    tensors, plain = split_state(state)
    write_safetensors(tmp_path / "x", tensors, plain)
    back = load_file(tmp_path / "x")
    assert torch.equal(back["model.0.weight"], net[0].weight)
    assert torch.equal(
        back["optimizer.state.0.exp_avg"], optimizer.state_dict()["state"][0]["exp_avg"]
    )
    assert back["history.0"].tolist() == [0, 1, 2]
    assert back["best"].item() == 0.5
    with safe_open(tmp_path / "x", "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["optimizer.param_groups.0.lr"]) == 0.125
    assert json.loads(metadata["epoch"]) == 3
    assert "odd" not in metadata


def test_views_and_big_endian(tmp_path):
    base = torch.arange(12).reshape(3, 4)
    big = np.arange(3, dtype=">i4")
    tensors, _ = split_state({"t": base.t()[1:], "b": big, "s": base.numpy()[::2, 1]})
    write_safetensors(tmp_path / "x", tensors)
    back = load_file(tmp_path / "x")
    assert torch.equal(back["t"], base.t()[1:])
    assert back["b"].tolist() == [0, 1, 2]
    assert back["s"].tolist() == [1, 9]


def test_what_the_format_has_not(tmp_path):
    tensors, _ = split_state({"z": torch.zeros(2, dtype=torch.complex128)})
    with pytest.raises(InvalidError, match=r"z is complex128"):
        write_safetensors(tmp_path / "x", tensors)
    twice = [("a", "int8", (1,), b"\0")] * 2
    with pytest.raises(InvalidError, match="two tensors"):
        write_safetensors(tmp_path / "x", twice)
    with pytest.raises(StorageError):
        write_safetensors(tmp_path / "no" / "x", [])
    assert list(tmp_path.iterdir()) == []


def test_the_data_is_aligned(tmp_path):
    write_safetensors(tmp_path / "x", [("a", "int8", (1,), b"\1")])
    content = (tmp_path / "x").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    assert length % 8 == 0
    assert content[8 + length :] == b"\1"
