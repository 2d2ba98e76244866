"""Tensors as (dtype, shape, bytes) for the log and for export, any dtype, without torch's file
formats.
"""

from __future__ import annotations

from typing import Any

import torch

_NUMPY = {
    torch.bool: "|b1",
    torch.uint8: "|u1",
    torch.int8: "|i1",
    torch.int16: "<i2",
    torch.int32: "<i4",
    torch.int64: "<i8",
    torch.float16: "<f2",
    torch.float32: "<f4",
    torch.float64: "<f8",
    torch.complex64: "<c8",
    torch.complex128: "<c16",
}


def tensor_bytes(tensor: torch.Tensor) -> tuple[str, list[int], bytes]:
    """Return NumPy's dtype string (torch's name where NumPy has none), shape and C-order bytes."""
    dense = tensor.detach().cpu().resolve_conj().resolve_neg()
    if dense.layout is not torch.strided:
        dense = dense.to_dense()
    dtype = _NUMPY.get(dense.dtype) or str(dense.dtype).removeprefix("torch.")
    flat = dense.contiguous().reshape(-1)
    raw: Any = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return dtype, list(dense.shape), raw
