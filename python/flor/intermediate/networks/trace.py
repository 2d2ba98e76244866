"""What one pass of a network shows: its layers in order, their shapes, times, and which follow
from others.

Two passes are made: over a batch, and over one row less, which tells the axis that the rows are on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flor.capture.state import random_states
from flor.errors import CaptureError
from flor.intermediate.networks.arrays import array_of, is_tensor, leaves, mapped
from flor.intermediate.networks.capture import Place, Taps, rows_first, seed

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Step:
    """How a layer follows from others: its module called with their values.

    ``inputs``: names of layers, None where the module gets None. Without a module it is the very
    tensor of its input.
    """

    inputs: tuple[str | None, ...]
    constants: dict[str, Any] = field(default_factory=dict)
    alias: bool = False


@dataclass(frozen=True)
class Layer:
    """A value that passes through a network. ``seconds``: since the pass began, of a whole batch.

    ``problem``: why it can't be captured. ``axis``: where its rows are.
    """

    place: Place
    unit_shape: tuple[int, ...] = ()
    dtype: str = ""
    axis: int = 0
    seconds: float = 0.0
    problem: str = ""
    step: Step | None = None

    @property
    def name(self) -> str:
        """The name under which it is asked for."""
        return self.place.name


@dataclass
class Trace:
    """All layers by name, in the order in which they are computed; of one batch."""

    layers: dict[str, Layer]
    rows: int
    seconds: float


def trace(
    net: torch.nn.Module, run: Callable[[Any], Any], batch: Any, rows: int, what: Collection[str]
) -> Trace:
    """Return what a pass over ``batch`` shows; ``run`` makes one, eval mode is the caller's."""
    watched = tuple(each for each in what if each != "gradient")
    fewer: dict[Place, Any] = {}
    if rows > 1:
        short = mapped(batch, lambda t: t[:-1] if is_tensor(t) and t.ndim and len(t) == rows else t)
        try:
            fewer = {
                place: shape_of(leaf) for place, leaf, _ in _pass(net, run, short, watched).seen
            }
        except Exception:  # a network that takes batches of one length only: guess from one
            fewer = {}
    watch = _pass(net, run, batch, watched)
    steps = _steps(watch.calls) if not watch.drew else {}
    layers = {}
    for place, leaf, seconds in watch.seen:
        found = _layer(place, leaf, rows, fewer.get(place))
        layers[place.name] = replace(found, seconds=seconds, step=steps.get(place))
        if "gradient" in what and place.what == "output":
            gradient = replace(place, what="gradient")
            layers[gradient.name] = replace(found, place=gradient, seconds=watch.seconds * 3)
    if "output" not in what:
        layers = {k: v for k, v in layers.items() if v.place.what != "output"}
    known = {name for name, layer in layers.items() if not layer.problem}
    for name, layer in layers.items():
        if layer.step and not known.issuperset(filter(None, layer.step.inputs)):
            layers[name] = replace(layer, step=None)
    return Trace(layers, rows, watch.seconds)


def shape_of(leaf: Any) -> tuple[int, ...] | None:
    """Return a tensor's shape, None for what is none or has rows of different lengths."""
    return None if not is_tensor(leaf) or leaf.is_nested else tuple(leaf.shape)


def _layer(place: Place, leaf: Any, rows: int, fewer: tuple[int, ...] | None) -> Layer:
    shape = shape_of(leaf)
    try:
        if shape is None:
            raise CaptureError(_no_tensor(place, leaf))
        axis = _axis(shape, rows, fewer)
        if axis is None:
            raise CaptureError(
                f"layer {place.name!r} has the shape {shape} for {rows} rows"
                + (f" and {fewer} for {rows - 1}" if fewer else "")
                + ": its rows are on no axis, so it is no intermediate of single rows. Capture the "
                "layer before it"
            )
        array = array_of(rows_first(place.name, leaf, axis)[:1])
    except CaptureError as error:
        return Layer(place, problem=str(error))
    return Layer(place, array.shape[1:], array.dtype.name, axis)


def _no_tensor(place: Place, leaf: Any) -> str:
    if is_tensor(leaf):
        return (
            f"layer {place.name!r} is ragged: a nested tensor, whose rows differ in length. Pad it "
            "(torch.nested.to_padded_tensor) in a layer of its own"
        )
    return (
        f"layer {place.name!r} puts out a {type(leaf).__name__}, not a tensor: capture the layer "
        "before it, or let it return a tensor"
    )


def _axis(shape: tuple[int, ...], rows: int, fewer: tuple[int, ...] | None) -> int | None:
    """Return the axis whose length is the number of rows, and follows it."""
    found = [axis for axis, length in enumerate(shape) if length == rows]
    if fewer is not None:
        found = [a for a in found if (*shape[:a], rows - 1, *shape[a + 1 :]) == fewer]
    return found[0] if found else None


# -- one pass --------------------------------------------------------------------------------------


@dataclass
class _Call:
    """A module being called. ``straight``: by code of torch. ``chain``: one after the other.

    ``arguments``: (tensor, version) or None each; None where they can't be given again.
    """

    module: str
    number: int
    straight: bool
    chain: bool
    owner: _Call | None
    arguments: list[Any] | None
    constants: dict[str, Any]
    outputs: list[tuple[str, Any, int]] = field(default_factory=list)


@dataclass
class _Watch:
    seen: list[tuple[Place, Any, float]] = field(default_factory=list)
    calls: list[_Call] = field(default_factory=list)
    seconds: float = 0.0
    drew: bool = False


def _pass(
    net: torch.nn.Module, run: Callable[[Any], Any], batch: Any, what: Collection[str]
) -> _Watch:
    from torch.nn import Sequential

    watch, running, numbers = _Watch(), list[_Call](), dict[str, int]()
    modules = dict(net.named_modules())
    names = {id(module): name for name, module in modules.items()}
    begun = 0.0

    def before(module: Any, args: Any, kwargs: Any) -> None:
        name = names[id(module)]
        numbers[name] = numbers.get(name, 0) + 1
        forward = type(module).forward
        straight = forward.__module__.startswith("torch.nn.modules.")
        chain = forward is Sequential.forward
        owner = running[-1] if running else None
        got, constants = _arguments(args, kwargs)
        running.append(_Call(name, numbers[name], straight, chain, owner, got, constants))

    def after(module: Any, args: Any, kwargs: Any, out: Any) -> None:
        call = running.pop()
        call.outputs = [(path, leaf, _version(leaf)) for path, leaf in leaves(out)]
        watch.calls.append(call)

    def take(name: str, call: int, kind: str, value: Any) -> None:
        now = time.perf_counter() - begun
        watch.seen += [(Place(name, call, path, kind), leaf, now) for path, leaf in leaves(value)]

    handles = [m.register_forward_pre_hook(before, with_kwargs=True) for m in modules.values()]
    handles += [m.register_forward_hook(after, with_kwargs=True) for m in modules.values()]
    wanted = {"output", *what}
    try:
        with Taps(modules, wanted, take) as taps:
            taps.attach(net)
            taps.begin()
            seed(0)
            states = random_states()
            begun = time.perf_counter()
            run(batch)
            watch.seconds = time.perf_counter() - begun
            taps.end()
            watch.drew = random_states() != states
    finally:
        for handle in handles:
            handle.remove()
    return watch


def _arguments(args: Any, kwargs: Any) -> tuple[list[Any] | None, dict[str, Any]]:
    """Return the tensors of a call with their versions, and what else it got; None for a call that
    got something that may depend on the data in another way.
    """
    plain = all(value is None or value is False for value in kwargs.values())
    if not plain or not all(value is None or is_tensor(value) for value in args):
        return None, {}
    return [None if value is None else (value, _version(value)) for value in args], dict(kwargs)


def _version(leaf: Any) -> int:
    """Return the version counter of a tensor that can be kept and given again; -1: it can't."""
    if not is_tensor(leaf) or leaf.is_inference() or leaf.is_nested or not leaf.is_contiguous():
        return -1
    return int(leaf._version)


def _steps(calls: list[_Call]) -> dict[Place, Step]:
    """Return which outputs follow from others for any data, by the identity of tensors.

    That is so where the code that hands them on is torch's own (``nn.Sequential``, encoder stacks):
    it goes straight on, where a forward of the user may choose by what it sees. Non-contiguous
    tensors are left out: what is read back is contiguous, and kernels may tell the difference.
    """
    made: dict[tuple[int, int], list[tuple[Place, _Call]]] = {}
    steps: dict[Place, Step] = {}
    for call in calls:  # in the order of their ends: what a module calls comes before it
        inner = [each for each in calls if each.owner is call] if call.straight else []
        inputs = _inputs(call, made)
        for path, leaf, version in call.outputs:
            place = Place(call.module, call.number, path)
            same = [p for p, maker in made.get((id(leaf), version), []) if maker in inner]
            if version >= 0 and same and (call.chain or inputs is None):
                steps[place] = Step((same[-1].name,), alias=True)
            elif inputs is not None and version >= 0:
                steps[place] = Step(inputs, call.constants)
            if version >= 0:
                made.setdefault((id(leaf), version), []).append((place, call))
    return steps


def _inputs(
    call: _Call, made: dict[tuple[int, int], list[tuple[Place, _Call]]]
) -> tuple[str | None, ...] | None:
    """Return the layers that a call got its tensors from; None where that is not certain."""
    owner = call.owner
    if owner is None or not owner.straight or not owner.arguments or not call.arguments:
        return None
    if (call.constants or None in call.arguments) and (owner.constants or None in owner.arguments):
        return None  # what the user's code left out for this batch, it may give for another
    names: list[str | None] = []
    for argument in call.arguments:
        if argument is None:
            names.append(None)
            continue
        tensor, version = argument
        makers = made.get((id(tensor), version), [])
        beside = [place for place, maker in makers if maker.owner is owner]
        if beside:
            names.append(beside[-1].name)
        elif (outer := _outer_input(owner, tensor, made)) is not None:
            names.append(outer)
        else:
            return None
    return tuple(names) if any(names) else None


def _outer_input(
    owner: _Call, tensor: Any, made: dict[tuple[int, int], list[tuple[Place, _Call]]]
) -> str | None:
    """Return where a container got the tensor that it hands on unchanged to a module inside."""
    if not owner.arguments or len(owner.arguments) != 1 or owner.arguments[0] is None:
        return None
    if owner.arguments[0][0] is not tensor:
        return None
    outer = _inputs(owner, made)
    return outer[0] if outer else None
