"""Which layers a user means: names, patterns, classes, modules."""

from __future__ import annotations

import difflib
import fnmatch
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flor.errors import CaptureError, InvalidError, LayerNotFoundError
from flor.intermediate.networks.trace import Layer


def select(layers: Any, traced: Mapping[str, Layer], modules: Mapping[str, Any]) -> list[Layer]:
    """Return the layers that ``layers`` means, in the order in which they are computed.

    A name, a pattern (``features.*``), a class of modules, a module of the network, or several of
    them. What a pattern or a class finds and can't be captured is left out with a warning; named
    by itself it is an error. Raises LayerNotFoundError, CaptureError, InvalidError.
    """
    wanted: dict[str, Layer] = {}
    for one in as_list(layers):
        wanted |= {layer.name: layer for layer in _meant(one, traced, modules)}
    if problems := [layer.problem for layer in wanted.values() if layer.problem]:
        warnings.warn(f"left out: {'; '.join(problems)}", stacklevel=4)
        wanted = {name: layer for name, layer in wanted.items() if not layer.problem}
    return [layer for name, layer in traced.items() if name in wanted]


def as_list(layers: Any) -> list[Any]:
    """Return what was given as one or several, as several."""
    several = isinstance(layers, Iterable) and not isinstance(layers, str | type)
    return list(layers) if several and not hasattr(layers, "named_modules") else [layers]


def chosen_modules(layers: Any, modules: Mapping[str, Any]) -> dict[str, Any]:
    """Return the modules by name that ``layers`` may mean, before any of them has run."""
    found: dict[str, Any] = {}
    for one in as_list(layers):
        if isinstance(one, str):
            names = [name for name in modules if _could_be(one, name)]
        else:
            names = _names_of(one, modules)
        if not names:
            raise LayerNotFoundError(_unknown(one, modules))
        found |= {name: modules[name] for name in names}
    return found


def layer_named(name: str, traced: Mapping[str, Layer], modules: Mapping[str, Any]) -> Layer:
    """Return one layer by its exact name; raises LayerNotFoundError, CaptureError."""
    found = traced.get(name)
    if found is None:
        raise LayerNotFoundError(_not_seen(name, traced, modules))
    if found.problem:
        raise CaptureError(found.problem)
    return found


def _meant(one: Any, traced: Mapping[str, Layer], modules: Mapping[str, Any]) -> list[Layer]:
    if isinstance(one, str) and one in traced:
        return [layer_named(one, traced, modules)]
    if isinstance(one, str):
        found = [layer for layer in traced.values() if _matches(one, layer)]
        exact = not is_pattern(one)
    else:
        names = set(_names_of(one, modules))
        found = [layer for layer in traced.values() if layer.place.module in names]
        exact = not isinstance(one, type)
    if not found:
        raise LayerNotFoundError(_not_seen(one, traced, modules))
    good = [layer for layer in found if not layer.problem]
    if not good or (exact and len(good) < len(found)):
        raise CaptureError(next(layer.problem for layer in found if layer.problem))
    return found


def is_pattern(text: str) -> bool:
    """Whether a name has wildcards; brackets belong to names (``lstm[0]``)."""
    return "*" in text or "?" in text


def _matches(text: str, layer: Layer) -> bool:
    names = {layer.name, layer.place.layer, layer.place.module}
    return any(matches(text, name) for name in names)


def matches(text: str, name: str) -> bool:
    """Whether a name or pattern means this name."""
    return fnmatch.fnmatchcase(name.replace("[", "("), text.replace("[", "("))


def _could_be(text: str, module: str) -> bool:
    """Whether a name or pattern could mean something of this module."""
    if matches(text, module or "(output)"):
        return True
    base = text.partition(":")[0].partition("[")[0].partition("#")[0]
    return matches(base, module or "(output)")


def _names_of(one: Any, modules: Mapping[str, Any]) -> list[str]:
    if isinstance(one, type):
        return [name for name, module in modules.items() if isinstance(module, one)]
    if hasattr(one, "named_modules"):
        return [name for name, module in modules.items() if module is one]
    raise InvalidError(
        f"layers={one!r}: a layer is a name, a pattern such as 'features.*', a class of modules or "
        "a module of the network"
    )


def _not_seen(one: Any, traced: Mapping[str, Layer], modules: Mapping[str, Any]) -> str:
    inside = [layer.name for layer in traced.values() if layer.place.module == one]
    if inside:
        return f"layer {one!r} has no values of that name: ask for {_some(inside)}"
    known = modules if not isinstance(one, str) else {n: m for n, m in modules.items() if n == one}
    names = [n for n in known if isinstance(one, str) or n in _names_of(one, modules)]
    if names:
        return (
            f"{names[0]!r} is a module of the network, but it never ran for this data: nothing of "
            f"it can be captured. Those that ran: {_some(traced)}"
        )
    return _unknown(one, [*traced, *modules])


def _unknown(one: Any, names: Iterable[str]) -> str:
    found = list(dict.fromkeys(name for name in names if name))
    if not isinstance(one, str):
        kind = one.__name__ if isinstance(one, type) else type(one).__name__
        return f"the network has no module {kind} of those asked for; its layers: {_some(found)}"
    near = difflib.get_close_matches(one, found, 3, 0.5)
    if is_pattern(one):
        return f"no layer matches {one!r}; there are {_some(found)}"
    return f"no layer {one!r}; " + (
        f"the nearest: {', '.join(near)}" if near else f"there are {_some(found)}"
    )


def _some(names: Iterable[str], most: int = 12) -> str:
    found: Sequence[str] = list(dict.fromkeys(names))
    return ", ".join(found[:most]) + (f", … ({len(found)})" if len(found) > most else "")
