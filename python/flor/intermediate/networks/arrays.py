"""Tensors as arrays whose first axis are rows, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flor.capture.regions import memory
from flor.errors import CaptureError

if TYPE_CHECKING:
    import torch

Array = NDArray[Any]

_NUMPY = {
    "bool": "?",
    "uint8": "u1",
    "int8": "i1",
    "int16": "i2",
    "int32": "i4",
    "int64": "i8",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
    "float16": "f2",
    "float32": "f4",
    "float64": "f8",
    "complex64": "c8",
    "complex128": "c16",
}


def array_of(tensor: torch.Tensor) -> Array:
    """Return a tensor's values: live memory where it lies on the CPU, else a copy.

    Types that NumPy lacks (bfloat16, float8) come widened to float32, exactly. Not by
    ``Tensor.numpy``, after which the user's storage could not be resized. Raises CaptureError for
    tensors without dense memory.
    """
    tensor = tensor.detach()
    if tensor.is_nested or tensor.is_sparse or tensor.is_quantized or tensor.is_meta:
        raise CaptureError(f"a {tensor.layout} tensor has no dense memory to read: convert it")
    dense = tensor.cpu().resolve_conj().resolve_neg()
    name = str(dense.dtype).removeprefix("torch.")
    if name not in _NUMPY:
        return array_of(dense.float())
    size = dense.element_size()
    reach = sum(
        (extent - 1) * step for extent, step in zip(dense.shape, dense.stride(), strict=True)
    )
    if not dense.numel():
        return np.empty(tuple(dense.shape), _NUMPY[name])
    raw = memory(dense, dense.data_ptr(), (reach + 1) * size)
    strides = [step * size for step in dense.stride()]
    return np.ndarray(tuple(dense.shape), _NUMPY[name], raw, strides=strides)


def tensor_of(array: Array, device: Any = "cpu") -> torch.Tensor:
    """Return a copy in memory of torch's own, aligned as torch aligns: kernels may care."""
    import torch

    dense = np.ascontiguousarray(array)
    kind = torch.from_numpy(np.empty(0, dense.dtype)).dtype
    tensor = torch.empty(dense.shape, dtype=kind)
    array_of(tensor)[...] = dense
    return tensor.to(device)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, leaf) of nested tuples, lists, mappings and dataclasses, without the Nones.

    ``[0]``, ``[1][0]``, ``[logits]``: what stands behind a layer's name.
    """
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}[{key}]")
    elif isinstance(value, tuple | list):
        for at, item in enumerate(value):
            yield from leaves(item, f"{path}[{at}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from leaves(getattr(value, field.name), f"{path}[{field.name}]")
    else:
        yield path, value


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a batch with each tensor and array in it changed."""
    if isinstance(value, Mapping):
        return {key: mapped(item, change) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(mapped(item, change) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(mapped(item, change) for item in value)
    return change(value)


def is_tensor(value: Any) -> bool:
    """Whether it is a tensor of torch; imports nothing."""
    import torch

    return isinstance(value, torch.Tensor)
