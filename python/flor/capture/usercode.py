"""Which modules and frames belong to the user's program, and which to installed packages."""

from __future__ import annotations

import multiprocessing.process
import sys
import sysconfig
from pathlib import Path
from types import FrameType, ModuleType

_OURS = str(Path(__file__).resolve().parent.parent)
_SYSTEM = tuple(
    {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib")}
)

# Where the program of a process that multiprocessing started begins; forked, it has its parent's
# frames below, which never go on in it.
_BOTTOM = multiprocessing.process.BaseProcess._bootstrap.__code__  # type: ignore[attr-defined]


def _is_installed(path: str) -> bool:
    return "site-packages" in path or "dist-packages" in path


def is_installed(path: str | None) -> bool:
    """Whether a file is of an installed package, the standard library or flor; None: built in."""
    return path is None or _is_installed(path) or path.startswith((_OURS, *_SYSTEM))


class UserCode:
    """The user's program: ``__main__`` and the modules below the folder of its script.

    Installed packages (the standard library, anything in a ``site-packages`` or ``dist-packages``)
    and flor itself are not user code, wherever they lie.
    """

    def __init__(self, root: str, *more: str) -> None:
        self.root = str(Path(root).resolve())
        self._roots = tuple(str(Path(found).resolve()) + "/" for found in (root, *more))
        self._known: dict[str, bool] = {}
        self._loaded: list[str] = []
        self._names: list[str] = []

    def is_user_file(self, filename: str | None) -> bool:
        """Whether a source file belongs to the program."""
        if not filename or filename[0] != "/":  # "<string>", or torch's modules made of thin air
            return False
        known = self._known.get(filename)
        if known is None:
            known = self._known[filename] = self._classify(filename)
        return known

    def _classify(self, filename: str) -> bool:
        # Most are of packages, thousands in a program: resolving links takes long.
        if _is_installed(filename) or filename.startswith(_SYSTEM):
            return False
        path = str(Path(filename).resolve())
        if path.startswith((_OURS, *_SYSTEM)) and not self.root.startswith(_OURS):
            return False
        return not _is_installed(path) and path.startswith(self._roots)

    def is_user_module(self, name: str | None) -> bool:
        """Whether a module, by name, belongs to the program."""
        if name == "__main__":
            return True
        module = sys.modules.get(name or "")
        return module is not None and self.is_user_file(getattr(module, "__file__", None))

    def modules(self) -> list[ModuleType]:
        """Return the program's loaded modules: ``__main__`` first, the others by name."""
        loaded = list(sys.modules)
        if loaded != self._loaded:  # thousands, looked through at each boundary
            known = len(self._loaded)
            if loaded[:known] != self._loaded:
                known, self._names = 0, []
            found = (name for name in loaded[known:] if self._is_other_module(name))
            self._loaded, self._names = loaded, sorted([*self._names, *found])
        modules = [sys.modules["__main__"]]
        for name in self._names:
            module = sys.modules[name]
            if isinstance(module, ModuleType) and module not in modules:
                modules.append(module)
        return modules

    def _is_other_module(self, name: str) -> bool:
        return name != "__main__" and self.is_user_module(name)

    def frames(self, innermost: FrameType | None) -> list[FrameType]:
        """Return the function frames of the program on the stack, outermost first.

        Module-level frames are left out: their variables are the module's.
        """
        found = []
        frame = innermost
        main = vars(sys.modules["__main__"])
        while frame is not None and frame.f_code is not _BOTTOM:
            ours = frame.f_globals is main or self.is_user_file(frame.f_code.co_filename)
            if ours and frame.f_code.co_name != "<module>":
                found.append(frame)
            frame = frame.f_back
        return found[::-1]
