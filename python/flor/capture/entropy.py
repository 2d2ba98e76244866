"""The randomness that a program starts from when it sets no seed: kept, so that it starts again
alike.

torch seeds its generator from the system when it is imported, which may be long after recording
began. So that seed is chosen at the start, and given to torch as soon as it is there.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import secrets
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from flor.capture.state import random_states, set_random_states

_TORCH = "torch"


def choose() -> dict[str, Any]:
    """Return the random states as they are, and torch's if that is not there yet: as chosen now."""
    states: dict[str, Any] = random_states()
    if _TORCH not in sys.modules:
        states["torch_seed"] = secrets.randbits(63)  # as many as torch takes from the system
        _seed_when_imported(states["torch_seed"])
    return states


def start_from(states: dict[str, Any]) -> None:
    """Let this program start from what :func:`choose` returned in another."""
    set_random_states({name: states[name] for name in ("python", "numpy")})
    if "torch_seed" in states:
        _seed_when_imported(states["torch_seed"])


def _seed_when_imported(seed: int) -> None:
    """Seed torch's generators when torch is imported; at once when it is already."""
    if _TORCH in sys.modules:
        _seed(seed)
    else:
        sys.meta_path.insert(0, _Watch(seed))


def _seed(seed: int) -> None:
    from flor.capture import torch_adapter

    torch_adapter.seed_default(seed)


class _Watch(importlib.abc.MetaPathFinder):
    """Finds torch once, by the other finders, and is gone."""

    def __init__(self, seed: int) -> None:
        self._number = seed

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _TORCH:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._number)
        return spec


class _Loader(importlib.abc.Loader):
    """torch's own loader, and the seed after it."""

    def __init__(self, loader: importlib.abc.Loader, seed: int) -> None:
        self._loader = loader
        self._number = seed

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        _seed(self._number)
