"""A loaded state as named tensors: ``model.conv1.weight``, ``optimizer.state.0.exp_avg``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from flor.query.safetensors_file import Tensor


def split_state(state: Mapping[str, Any]) -> tuple[list[Tensor], dict[str, str]]:
    """Return the tensors of a state, and its plain values (numbers, strings, …) as JSON by name.

    What is neither is left out. Nested dicts, lists and tuples give dotted names.
    """
    tensors: list[Tensor] = []
    plain: dict[str, str] = {}
    for name, leaf in _leaves("", state):
        if hasattr(leaf, "detach"):
            tensors.append((name, *_torch_parts(leaf)))
        elif isinstance(leaf, np.ndarray | np.generic) and leaf.dtype.kind in "biufc":
            array = np.ascontiguousarray(leaf, leaf.dtype.newbyteorder("<"))
            tensors.append((name, array.dtype.name, np.shape(leaf), array.tobytes()))
        elif leaf is None or isinstance(leaf, bool | int | float | str):
            plain[name] = json.dumps(leaf)
    return tensors, plain


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), item) for index, item in enumerate(value)]
    elif hasattr(value, "state_dict") and callable(value.state_dict):
        items = [(str(key), item) for key, item in value.state_dict().items()]
    else:
        yield name, value
        return
    for key, item in items:
        yield from _leaves(f"{name}.{key}" if name else key, item)


def _torch_parts(tensor: Any) -> tuple[str, tuple[int, ...], memoryview]:
    """Return dtype, shape and bytes of a torch tensor; who holds one has imported torch."""
    torch = sys.modules["torch"]
    flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    content = flat.view(torch.uint8).numpy().data if flat.numel() else memoryview(b"")
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape), content
