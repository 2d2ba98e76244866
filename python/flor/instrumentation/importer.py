"""Rewriting the modules of a program as they are imported; installed packages are not touched."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

Compile = Callable[[str], CodeType | None]


class Importer(MetaPathFinder):
    """Finds modules as Python does, and compiles the program's own with ``compile_file(path)``.

    None from there leaves a file to Python. On ``sys.meta_path`` from :meth:`install` to
    :meth:`remove`. Thread-safe as far as ``compile_file`` is.
    """

    def __init__(self, is_user_file: Callable[[str], bool], compile_file: Compile) -> None:
        self._is_user_file = is_user_file
        self._compile = compile_file

    def install(self) -> None:
        """Become the first of the finders."""
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Leave the finders; modules imported so far stay as they are."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of one of the program's modules with a loader of ours, else None."""
        ours = [folder for folder in (sys.path if path is None else path) if self._may_hold(folder)]
        if not ours or PathFinder.find_spec(fullname, ours, target) is None:
            return None  # in an installed package: most imports are, and are looked for again
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader or not spec.origin:
            return None
        if not self._is_user_file(spec.origin):
            return None
        spec.loader = _Loader(fullname, spec.origin, self._compile)
        return spec

    def _may_hold(self, folder: str) -> bool:
        return not folder.startswith("/") or self._is_user_file(f"{folder}/any.py")


class _Loader(SourceFileLoader):
    """Compiles from the source, past the cache of byte code."""

    def __init__(self, fullname: str, path: str, compile_file: Compile) -> None:
        super().__init__(fullname, path)
        self._compile = compile_file

    def get_code(self, fullname: str) -> CodeType | None:
        return self._compile(self.path) or super().get_code(fullname)
