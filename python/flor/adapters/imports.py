"""Doing something to a module of an installed package once it has been imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


class WhenImported(MetaPathFinder):
    """Calls ``actions[name](module)`` when module ``name`` has been executed, or at once.

    An action that raises AttributeError found another version of the package than it knows:
    ``tell`` gets a sentence. Thread-safe as imports are: Python's lock of the module is held.
    """

    def __init__(self, actions: Mapping[str, Action], tell: Callable[[str], None]) -> None:
        self._actions = actions
        self._tell = tell

    def install(self) -> None:
        """Become the first of the finders, and act on what is already there."""
        sys.meta_path.insert(0, self)
        for name in self._actions:
            if name in sys.modules:
                self._act(sys.modules[name])

    def remove(self) -> None:
        """Leave the finders; modules that were acted on stay as they are."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that the other finders give, with a loader that acts; else None."""
        if fullname not in self._actions:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)):
                if spec.loader is not None:
                    spec.loader = _ActingLoader(spec.loader, self._act)
                return spec
        return None

    def _act(self, module: ModuleType) -> None:
        try:
            self._actions[module.__name__](module)
        except AttributeError as error:
            self._tell(f"this version of {module.__name__} is not known: {error}")


class _ActingLoader(Loader):
    """Another loader, and an action after it; in the module, the other one alone is seen."""

    def __init__(self, loader: Any, act: Action) -> None:
        self._loader = loader
        self._act = act

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        with suppress(AttributeError):  # a spec is there wherever the import system made the module
            module.__spec__.loader = self._loader  # type: ignore[union-attr]
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._act(module)
