"""Tensors, storages, generators and random states of torch. Imported only when torch is already
loaded.

Tensors are read as storages plus views (offset, size, stride), ``.grad`` and ``requires_grad``
included, so that aliases survive. A tensor that still carries an autograd graph is read by value;
its restored copy raises when something tries to differentiate through it (:class:`LostGraph`), so
that a replay that needs the graph falls back to re-execution instead of going on without it.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)
from torch.utils.hooks import RemovableHandle

from flor import _core
from flor.capture.regions import Bytes1D, memory, span
from flor.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from flor.capture.regions import Regions
    from flor.capture.walk import Node, Walker

lost_graphs = 0
"""How often something tried to differentiate through a restored tensor: replay falls back."""

KNOWN = (torch.Tensor, torch.nn.Parameter, torch.nn.parameter.Buffer)


def seed_default(seed: int) -> None:
    """Seed the default generators of all devices."""
    torch.manual_seed(seed)


def fill(walker: Walker, obj: Any, node: Node) -> bool:
    """Complete ``node`` for a tensor or a generator; return whether ``obj`` was one."""
    if isinstance(obj, torch.Tensor):
        tensor(walker, obj, node)
        return True
    if isinstance(obj, torch.Generator):
        node[0] = "tgen"
        node += [str(obj.device), _b64(obj.get_state())]
        return True
    return False


def tensor(walker: Walker, obj: torch.Tensor, node: Node) -> None:
    """Complete the node of a tensor."""
    if type(obj) not in KNOWN:
        walker.opaque(node, obj, "a subclass of Tensor may keep state that flor does not know")
        return
    found = _core.describe_tensor(obj)
    if found is None:
        walker.opaque(node, obj, "only dense tensors with memory of their own can be read")
        return
    dtype, device, shape, strides, offset, differentiable, bits, *storage, low, high = found
    node[0] = "tensor"
    region = _region(walker.graph.regions, obj, *storage)
    walker.graph.regions.use(region, low, high)
    kind = [type(obj).__name__, dtype, device]
    node += [kind, shape, strides, offset, region, differentiable]
    node += [
        walker.value(None if differentiable == "graph" else obj.grad),
        [[key, walker.value(item)] for key, item in vars(obj).items()],
        bits,
    ]


def span_of(node: Node) -> tuple[int, int]:
    """Return the bytes [low, high) of its region that a tensor node covers."""
    size: int = getattr(torch, node[2][1]).itemsize
    return span(node[5] * size, node[3], [stride * size for stride in node[4]], size)


def _region(
    regions: Regions,
    obj: torch.Tensor,
    storage: torch.UntypedStorage,
    address: int,
    nbytes: int,
    own: bool,
) -> int:
    """Return the region of a tensor's storage; ``own``: torch allocated it, for this process alone
    (what came from NumPy, DLPack or a file can't be resized).
    """
    known = len(regions.views)
    index = regions.lookup(address, nbytes, lambda: storage_view(obj))
    pinned = torch.cuda.is_initialized() and storage.device.type == "cpu" and storage.is_pinned()
    if pinned:
        regions.devices.add(index)
    if pinned or not own:
        regions.foreign.add(index)
    elif index == known:
        regions.own.add(index)
    return index


def owned_by_optimizers(objects: list[Any]) -> set[int]:
    """Return the addresses of the storages that only a step of one of the optimizers should change:
    parameters and the state kept for them.
    """
    found = set()
    for optimizer in objects:
        if isinstance(optimizer, torch.optim.Optimizer):
            params = [param for group in optimizer.param_groups for param in group["params"]]
            kept = [item for state in optimizer.state.values() for item in state.values()]
            for tensor in params + kept:
                if isinstance(tensor, torch.Tensor):
                    found.add(tensor.untyped_storage().data_ptr())
    return found


def before_steps(hook: Callable[..., None]) -> None:
    """Call ``hook(optimizer, args, kwargs)`` before each step of any optimizer, from now on."""
    _out_of_count(register_optimizer_step_pre_hook(hook), hook)


def after_steps(hook: Callable[..., None]) -> None:
    """Call ``hook(optimizer, args, kwargs)`` after each step of any optimizer, from now on."""
    _out_of_count(register_optimizer_step_post_hook(hook), hook)


def _out_of_count(handle: RemovableHandle, hook: Any) -> None:
    """Give a hook of ours a number that torch never gives, and its number back.

    Modules keep their hooks by number: the program's are numbered as without flor.
    """
    hooks: Any = handle.hooks_dict_ref()
    del hooks[handle.id]
    hooks[-id(hook)] = hook
    RemovableHandle.next_id = handle.id


def storage_view(obj: torch.Tensor) -> Bytes1D:
    """Return the whole storage of ``obj`` as bytes: live memory on the CPU, a copy for a device."""
    storage = obj.untyped_storage()
    return bytes_of(storage if storage.device.type == "cpu" else storage.cpu())


def bytes_of(storage: torch.UntypedStorage) -> Bytes1D:
    """Return the memory of a storage on the CPU as bytes.

    Not by ``Tensor.numpy``, after which the storage of the user's tensor could not be resized.
    """
    return memory(storage, storage.data_ptr(), storage.nbytes())


def storage_over(memory: Bytes1D) -> torch.UntypedStorage:
    """Return a storage that shares the memory of an array."""
    return torch.from_numpy(memory).untyped_storage()


def _b64(state: torch.Tensor) -> str:
    return base64.b64encode(state.numpy().tobytes()).decode()


def _unb64(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)


def random_states() -> dict[str, Any]:
    """Return the states of torch's global generators: cpu, and each CUDA device in use."""
    states: dict[str, Any] = {"cpu": _b64(torch.get_rng_state())}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states["cuda"] = [_b64(state.cpu()) for state in torch.cuda.get_rng_state_all()]
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Put :func:`random_states` back."""
    torch.set_rng_state(_unb64(states["cpu"]))
    if "cuda" in states:
        torch.cuda.set_rng_state_all([_unb64(state) for state in states["cuda"]])


_PRINTS = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")


def modes() -> dict[str, Any]:
    """Return the switches that decide what the next operation computes."""
    return {
        "grad": torch.is_grad_enabled(),
        "dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "prints": {name: getattr(torch._tensor_str.PRINT_OPTS, name) for name in _PRINTS},
    }


def set_modes(found: dict[str, Any]) -> None:
    """Put :func:`modes` back."""
    torch.set_grad_enabled(found["grad"])
    torch.set_default_dtype(getattr(torch, found["dtype"]))
    if torch.get_num_threads() != found["threads"]:
        torch.set_num_threads(found["threads"])
    if found.get("prints") not in (None, modes()["prints"]):
        torch.set_printoptions(**found["prints"])


class LostGraph(torch.autograd.Function):  # type: ignore[misc]
    """Stands where a restored tensor's autograd graph was: a value, but no way back."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        """Return the value unchanged."""
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Refuse: the graph was not restored."""
        global lost_graphs
        lost_graphs += 1
        raise CaptureError(
            "this tensor was restored from a checkpoint without its autograd graph; "
            "the iteration that made it must be re-executed"
        )


def new_storage(nbytes: int) -> torch.UntypedStorage:
    """Return a storage of torch's own allocator on the CPU, not initialized."""
    return torch.empty(nbytes, dtype=torch.uint8).untyped_storage()


def storage_from(data: Bytes1D, device: str) -> torch.UntypedStorage:
    """Return a new storage on ``device`` with a copy of ``data``, by torch's own allocator."""
    flat = torch.empty(data.nbytes, dtype=torch.uint8)
    bytes_of(flat.untyped_storage())[:] = data
    return flat.to(device).untyped_storage()


def view_of(storage: torch.UntypedStorage, node: Node) -> torch.Tensor:
    """Return a tensor over ``storage`` as ``node`` says, without gradient or attributes."""
    (kind, dtype, _), shape, strides, offset = node[2:6]
    tensor = torch.empty(0, dtype=getattr(torch, dtype), device=storage.device)
    with torch.no_grad():
        tensor.set_(storage, offset, shape, strides)
        if node[10] & 1:
            tensor = tensor.conj()
        if node[10] & 2:
            tensor = tensor._neg_view()
    if kind == "Parameter":
        return torch.nn.Parameter(tensor, requires_grad=False)
    return torch.nn.parameter.Buffer(tensor) if kind == "Buffer" else tensor


def without_graph(tensor: torch.Tensor) -> Any:
    """Return ``tensor`` as a non-leaf whose autograd graph is lost (:class:`LostGraph`)."""
    with torch.enable_grad():
        return LostGraph.apply(tensor.detach().requires_grad_())


def place(tensor: torch.Tensor, storage: torch.UntypedStorage, node: Node) -> None:
    """Make a live tensor the view of ``storage`` that ``node`` describes."""
    with torch.no_grad():
        tensor.set_(storage, node[5], node[3], node[4])


def write_storage(storage: torch.UntypedStorage, data: Bytes1D) -> None:
    """Copy ``data`` over a live storage of the same length."""
    if data.nbytes == 0:
        return
    if storage.device.type == "cpu":
        bytes_of(storage)[:] = data
    else:
        flat = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        flat.copy_(torch.from_numpy(np.array(data)))


def set_generator(generator: torch.Generator, state: str) -> None:
    """Set a generator's state from its node."""
    generator.set_state(_unb64(state))


def numpy_of(tensor_node: Node, data: Bytes1D) -> tuple[str, list[int], bytes]:
    """Return (dtype, shape, C-order bytes) of a tensor node, for export without torch's file
    formats.
    """
    tensor = view_of(storage_from(data, "cpu"), tensor_node).detach().resolve_conj().contiguous()
    flat = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return str(tensor.dtype).removeprefix("torch."), list(tensor.shape), flat
