"""Hooks on the modules of a network that hand over what passes through them.

Outputs and inputs come from torch's own hooks, after the user's. Attention maps are computed again
beside the pass (fused kernels never make them): softmax(QKᵀ·scale + mask), of
``nn.MultiheadAttention`` and of every ``scaled_dot_product_attention``. What the network computes
is not touched.
"""

from __future__ import annotations

import contextlib
import inspect
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flor.errors import CaptureError, InvalidError
from flor.intermediate.networks.arrays import is_tensor

if TYPE_CHECKING:
    import torch

WHATS = ("output", "input", "gradient", "attention")
ROOT = "(output)"


@dataclass(frozen=True)
class Place:
    """Where a value passes: a module, which of its calls in a pass, where in what it returns.

    ``call`` counts from 1: a module that is used twice is ``act`` and ``act#2``. ``path``: in
    tuples and mappings, ``[1][0]``.
    """

    module: str
    call: int = 1
    path: str = ""
    what: str = "output"

    @property
    def layer(self) -> str:
        """The name without what is captured of it."""
        return (self.module or ROOT) + (f"#{self.call}" if self.call > 1 else "") + self.path

    @property
    def name(self) -> str:
        """The name under which it is asked for."""
        return self.layer + ("" if self.what == "output" else f":{self.what}")


Take = Callable[[str, int, str, Any], None]


def check_whats(what: str | Collection[str]) -> tuple[str, ...]:
    """Return what is to be captured; raises InvalidError."""
    found = (what,) if isinstance(what, str) else tuple(what)
    for each in found:
        if each not in WHATS:
            raise InvalidError(f"what={each!r}: it is one or more of {', '.join(WHATS)}")
    if not found:
        raise InvalidError(f"what=(): name at least one of {', '.join(WHATS)}")
    return found


class _Hook:
    """A hook of flor: fingerprints pass over it, and captured states know it as flor's own."""

    flor_tap = True

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def __call__(self, *args: Any) -> Any:
        return self._call(*args)


class Taps:
    """Calls ``take(module, call, what, value)`` for what passes in a pass that was begun.

    ``modules``: by name. ``grow``: where nothing before a layer asks for gradients, its output
    begins to (values stay the same). One pass at a time; not thread-safe.
    """

    def __init__(
        self,
        modules: Mapping[str, torch.nn.Module],
        what: Collection[str],
        take: Take,
        *,
        grow: bool = True,
    ) -> None:
        self._modules = modules
        self._what = frozenset(what)
        self._take, self._grow = take, grow
        self._on = False
        self._calls: Counter[tuple[str, str]] = Counter()
        self._running: list[tuple[str, Any]] = []
        self._handles: list[Any] = []
        self._heard: _SeenAttention | None = None

    def begin(self) -> None:
        """Begin a pass: count calls anew."""
        self.end()
        self._calls.clear()
        self._running.clear()
        if "attention" in self._what:
            self._heard = _SeenAttention(self._fused)
            self._heard.__enter__()
        self._on = True

    def end(self) -> None:
        """End a pass: hooks do nothing until the next begins."""
        self._on = False
        if self._heard is not None:
            self._heard.__exit__()
            self._heard = None

    @property
    def on(self) -> bool:
        """Whether a pass has begun."""
        return self._on

    def attach(self, net: torch.nn.Module) -> None:
        """Put the hooks in; in all modules of ``net`` where attention is wanted."""
        for name, module in self._modules.items():
            if "input" in self._what:
                self._before(module, lambda m, a, k, name=name: self._input(name, a, k))
            if self._what & {"output", "gradient"}:
                self._after(module, lambda m, a, k, out, name=name: self._output(name, out))
        if "attention" in self._what:
            self._attach_attention(net)

    def detach(self) -> None:
        """Take the hooks out."""
        self.end()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def __enter__(self) -> Taps:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    def _before(self, module: Any, hook: Callable[..., Any]) -> None:
        self._handles.append(module.register_forward_pre_hook(_Hook(hook), with_kwargs=True))

    def _after(self, module: Any, hook: Callable[..., Any]) -> None:
        self._handles.append(module.register_forward_hook(_Hook(hook), with_kwargs=True))

    def _call(self, module: str, what: str) -> int:
        self._calls[module, what] += 1
        return self._calls[module, what]

    def _input(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self._on:
            alone = len(args) == 1 and not kwargs
            value = args[0] if alone else dict(enumerate(args)) | kwargs
            self._take(name, self._call(name, "input"), "input", value)

    def _output(self, name: str, value: Any) -> Any:
        if not self._on:
            return None
        call = self._call(name, "output")
        if "output" in self._what:
            self._take(name, call, "output", value)
        if "gradient" not in self._what:
            return None
        if self._grow and is_tensor(value) and value.is_floating_point():
            value = _with_gradient(value)
        self._take(name, call, "gradient", value)
        return value

    # -- attention ---------------------------------------------------------------------------------

    def _attach_attention(self, net: torch.nn.Module) -> None:
        import torch

        for name, module in net.named_modules():
            self._before(module, lambda m, a, k, name=name: self._runs(name, m))
            if isinstance(module, torch.nn.MultiheadAttention):
                self._after(module, lambda m, a, k, out, name=name: self._multihead(name, m, a, k))
            self._after(module, lambda m, a, k, out: self._ended(m))

    def _runs(self, name: str, module: Any) -> None:
        if self._on:
            self._running.append((name, module))

    def _ended(self, module: Any) -> None:
        while self._running and self._running.pop()[1] is not module:
            pass  # calls that an exception ended

    def _multihead(self, name: str, module: Any, args: Any, kwargs: Any) -> None:
        if self._on and name in self._modules:
            weights = multihead_weights(module, args, kwargs)
            self._take(name, self._call(name, "attention"), "attention", weights)

    def _fused(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        import torch

        if not self._running:
            return
        name, module = self._running[-1]
        if name in self._modules and not isinstance(module, torch.nn.MultiheadAttention):
            weights = fused_weights(*args, **kwargs)
            self._take(name, self._call(name, "attention"), "attention", weights)


def _with_gradient(value: torch.Tensor) -> torch.Tensor:
    """Return an output as one that collects a gradient, of a frozen network too."""
    import torch

    if value.requires_grad or not torch.is_grad_enabled():
        return value
    return value.detach().requires_grad_().view_as(value)


class _SeenAttention:
    """Hears of calls of ``torch.nn.functional.scaled_dot_product_attention`` while it is entered.

    By the name in its module, not by a mode of torch: modules look whether one is on, and then
    compute by other kernels.
    """

    def __init__(self, seen: Callable[[tuple[Any, ...], dict[str, Any]], None]) -> None:
        self._seen = seen

    def __enter__(self) -> None:
        import torch.nn.functional as functional

        self._plain = functional.scaled_dot_product_attention

        def attention(*args: Any, **kwargs: Any) -> Any:
            out = self._plain(*args, **kwargs)
            self._seen(args, kwargs)
            return out

        functional.scaled_dot_product_attention = attention

    def __exit__(self, *_: object) -> None:
        import torch.nn.functional as functional

        functional.scaled_dot_product_attention = self._plain


def multihead_weights(module: Any, args: Any, kwargs: Any) -> torch.Tensor:
    """Return the attention maps (rows, heads, queries, keys) of a call, before dropout."""
    import torch

    call = inspect.signature(type(module).forward).bind(module, *args, **kwargs)
    call.arguments |= {"need_weights": True, "average_attn_weights": False}
    training = module.training
    module.training = False
    try:
        with torch.no_grad():
            weights: torch.Tensor = type(module).forward(*call.args, **call.kwargs)[1]
    finally:
        module.training = training
    return weights


def fused_weights(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Return the attention maps that ``scaled_dot_product_attention`` multiplies with ``value``.

    By the formula in torch's documentation of it, before dropout.
    """
    import torch

    with torch.no_grad():
        if enable_gqa:
            key = key.repeat_interleave(query.size(-3) // key.size(-3), -3)
        factor = query.size(-1) ** -0.5 if scale is None else scale
        scores = query @ key.transpose(-2, -1) * factor
        if is_causal:
            seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            scores = scores.masked_fill(~seen, float("-inf"))
        if attn_mask is not None:
            boolean = attn_mask.dtype is torch.bool
            scores = (
                scores.masked_fill(~attn_mask, float("-inf")) if boolean else scores + attn_mask
            )
        return scores.softmax(-1)


@contextlib.contextmanager
def same_random_states() -> Iterator[None]:
    """Put the random states and torch's modes back at the end."""
    from flor.capture.state import random_states, set_random_states

    states = random_states()
    try:
        yield
    finally:
        set_random_states(states)


@contextlib.contextmanager
def undisturbed(net: torch.nn.Module, *, grad: bool = False) -> Iterator[None]:
    """Let a network compute in eval mode, by one kernel whoever watches; leave all as it was.

    Random states, torch's modes, training flags and buffers come back as they were.
    """
    import torch

    from flor.capture import torch_protection

    restore = [each for module in net.modules() for each in torch_protection.state_of(module, True)]
    # An encoder layer leaves its fused kernel when anything inside of it has a hook: without these
    # its last bits would depend on what is captured.
    layers = [m for m in net.modules() if isinstance(m, torch.nn.TransformerEncoderLayer)]
    hooks = [layer.register_forward_hook(_Hook(lambda *_: None)) for layer in layers]
    try:
        net.eval()
        with same_random_states(), torch.set_grad_enabled(grad):
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for put_back in reversed(restore):
            put_back()


def seed(number: int) -> None:
    """Start the global generators anew for a batch: what draws in it draws the same again."""
    import torch

    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def rows_first(name: str, tensor: Any, axis: int) -> Any:
    """Return a tensor with its rows on the first axis; raises CaptureError for what is none."""
    if not is_tensor(tensor):
        raise CaptureError(
            f"layer {name!r} puts out a {type(tensor).__name__}, not a tensor: capture the layer "
            "before it, or let it return a tensor"
        )
    return tensor.movedim(axis, 0) if axis else tensor
