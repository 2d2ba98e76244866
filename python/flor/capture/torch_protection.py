"""The part of :mod:`protection` that knows torch. Imported only when torch is already loaded."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch

from flor.capture import torch_adapter

Restore = Callable[[], object]


def global_states(whole: bool) -> Iterator[Restore]:
    """Yield what puts torch's random states back, and with ``whole`` its modes."""
    yield partial(torch.set_rng_state, torch.get_rng_state())
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        yield partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    if whole:
        yield partial(torch_adapter.set_modes, torch_adapter.modes())


def state_of(obj: Any, whole: bool) -> Iterator[Restore]:
    """Yield what puts the state of a generator back, and with ``whole`` that of a module (training
    flag, buffers) or of a tensor that collects gradients.
    """
    kind = type(obj)
    if issubclass(kind, torch.Generator):
        yield partial(obj.set_state, obj.get_state())
    elif not whole:
        return
    elif issubclass(kind, torch.nn.Module):
        yield partial(_set_flag, obj, obj.training)
        for name, buffer in obj.named_buffers(recurse=False, remove_duplicate=False):
            yield partial(_set_buffer, obj, name, buffer, buffer.detach().clone())
    elif issubclass(kind, torch.Tensor) and obj.is_leaf and obj.requires_grad:
        grad = obj.grad
        yield partial(_set_grad, obj, grad, None if grad is None else grad.detach().clone())


def parts(obj: Any) -> Mapping[str, Any]:
    """Return what ``getattr`` finds in a module without running the program's code."""
    if not isinstance(obj, torch.nn.Module):
        return {}
    if type(obj).__getattr__ is not torch.nn.Module.__getattr__:
        return {}
    own = vars(obj)  # of a module whose __init__ has not run, they are not there
    return ChainMap(*(own.get(kind, {}) for kind in ("_parameters", "_buffers", "_modules")))


def _set_flag(module: torch.nn.Module, training: bool) -> None:
    if module.training != training:
        module.training = training


def _set_buffer(
    module: torch.nn.Module, name: str, buffer: torch.Tensor, content: torch.Tensor
) -> None:
    _write(buffer, content)
    if getattr(module, name, None) is not buffer:
        setattr(module, name, buffer)


def _set_grad(tensor: torch.Tensor, grad: torch.Tensor | None, content: Any) -> None:
    if grad is not None:
        _write(grad, content)
    if tensor.grad is not grad:
        tensor.grad = grad


def _write(tensor: torch.Tensor, content: torch.Tensor) -> None:
    """Copy ``content`` over a tensor, past its version counter: autograd may have saved it."""
    with torch.no_grad():
        tensor.data.copy_(content)
