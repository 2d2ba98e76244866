"""Write python/flor/_core.pyi from the built extension, or compare with --check.

pybind11-stubgen reads what pybind11 knows; the patches below add what it can't know: plain C
functions have no signature, `dict` and `list` have no item types, numbers come out as the protocols
that pybind11 accepts, and a native enum would become class variables.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "python" / "flor" / "_core.pyi"
HEAD = """\
# Written by scripts/stubs; scripts/check compares it with the extension.
# ruff: noqa
"""

# Functions in plain C (METH_FASTCALL): their signatures are written here by hand.
PLAIN = {
    "before_step": "def before_step(*ignored: typing.Any) -> None: ...",
    "context_enter": "def context_enter(loop: str, /) -> int: ...",
    "context_leave": "def context_leave(token: int, /) -> None: ...",
    "context_path": "def context_path() -> list[tuple[str, int]]: ...",
    "context_reset": "def context_reset() -> None: ...",
    "context_step": (
        "def context_step(token: int, index: int, value: str | None = None, /) -> None: ..."
    ),
    "log": "def log(name: str, value: _T, /) -> _T: ...",
    "log_encoded": "def log_encoded(name: str, kind: int, payload: typing.Any, /) -> None: ...",
    "loops_begun": "def loops_begun(name: str, /) -> int: ...",
    "mark_training": "def mark_training(*ignored: typing.Any) -> None: ...",
    "set_loop_watcher": (
        "def set_loop_watcher(watcher: collections.abc.Callable[[Loop], typing.Any] | None, /)"
        " -> None: ..."
    ),
}

# Types in plain C: whole classes.
CLASSES = {
    "Loop": """
class Loop:
    \"\"\"
    An instrumented loop that runs: an iterator.
    \"\"\"
    @property
    def depth(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def iterable(self) -> typing.Any: ...
    @property
    def key(self) -> typing.Any: ...
    @property
    def name(self) -> str: ...
    @property
    def recorded(self) -> bool: ...
    @property
    def trained(self) -> bool: ...
    def __iter__(self) -> Loop: ...
    def __next__(self) -> typing.Any: ...
    def skip(self, count: int, /) -> bool: ...
    def stop(self) -> None: ...
""",
    "LoopSite": """
class LoopSite:
    \"\"\"
    A loop of the source: called with an iterable, or without one for a `while`, it returns the
    iterator to loop over.

    suspends: it stands in a generator. counted: 2: its loops are numbered with the others of their
    name; 1: only those directly inside an outermost loop; 0: none, they are there for a probe.
    light: only those directly inside an outermost loop are seen, the others are the iterators that
    they would be without flor.
    \"\"\"
    def __init__(
        self,
        name: str,
        key: typing.Any = None,
        suspends: bool = False,
        counted: int = 2,
        light: bool = False,
    ) -> None: ...
    def __call__(self, iterable: typing.Any = ..., /) -> typing.Any: ...
    @property
    def key(self) -> typing.Any: ...
    @property
    def name(self) -> str: ...
    def finish(self) -> None: ...
""",
}

REPLACED = [
    (r"typing\.SupportsInt \| typing\.SupportsIndex", "int"),
    (r"typing\.SupportsFloat \| typing\.SupportsIndex", "float"),
    (r"-> dict:", "-> dict[str, typing.Any]:"),
    (r"-> list:", "-> list[dict[str, typing.Any]]:"),
    (r"-> tuple:", "-> tuple[typing.Any, ...]:"),
    (r"(\w+): list(?=[,)])", r"\1: list[typing.Any]"),
    (r"-> numpy\.ndarray", "-> numpy.typing.NDArray[typing.Any]"),
    (r"^import numpy$", "import numpy.typing"),
    (r"collections\.abc\.Sequence(?!\[)", "collections.abc.Sequence[typing.Any]"),
    (r"typing_extensions\.CapsuleType|types\.CapsuleType", "typing.Any"),
    # A native enum's members are members, not class variables.
    (r"^(    [A-Za-z_]+): typing\.ClassVar\[[A-Za-z_]+\](  # value = .*)$", r"\1: int\2"),
    # A buffer argument takes whatever exports one; typeshed's protocol would reject ndarray.
    (r"(?:collections\.abc|typing_extensions)\.Buffer", "typing.Any"),
]


def generate() -> str:
    """Return the stub as pybind11-stubgen makes it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "flor._core", "-o", folder]
        made = subprocess.run(
            [*command, "--ignore-all-errors"], capture_output=True, text=True, check=False
        )
        if made.returncode != 0:
            raise SystemExit(made.stdout + made.stderr)
        return (Path(folder) / "flor" / "_core.pyi").read_text()


def replace_plain(text: str) -> str:
    """Put the hand-written signatures in place; every plain function needs one, and no other."""
    for name, signature in PLAIN.items():
        pattern = rf"^def {name}\(.*\n(?P<body>(?:    .*\n)+)"
        found = re.search(pattern, text, re.MULTILINE)
        if found is None:
            raise SystemExit(f"{name} has a signature in scripts/stubs.py and is not in the module")
        body = signature.removesuffix(" ...") + "\n" + found["body"]
        text = text[: found.start()] + body + text[found.end() :]
    for name, stub_text in CLASSES.items():
        pattern = rf"^class {name}:\n(?:(?:    .*)?\n)+"
        if re.search(pattern, text, re.MULTILINE) is None:
            raise SystemExit(f"{name} is written in scripts/stubs.py and is not in the module")
        text = re.sub(
            pattern, lambda _, new=stub_text: new.lstrip() + "\n", text, count=1, flags=re.M
        )
    if missing := [name for name in untyped(text) if name not in PLAIN]:
        raise SystemExit(f"these functions need a signature in scripts/stubs.py: {missing}")
    return text


def untyped(text: str) -> list[str]:
    """Return the functions with an argument that has no type, or without a return type."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            bare = [one for one in arguments if one.annotation is None and one.arg != "self"]
            if bare or node.returns is None:
                found.append(node.name)
    return found


def format_stub(text: str) -> str:
    """Return the text as ruff formats it."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(STUB), "-"]
    made = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT, check=True)
    return made.stdout


def stub() -> str:
    """Return the stub as it should be."""
    text = replace_plain(generate())
    for pattern, replacement in REPLACED:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    text = text.replace("import typing\n", 'import typing\n_T = typing.TypeVar("_T")\n', 1)
    return format_stub(HEAD + text)


def main() -> int:
    """Write or compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    wanted = stub()
    if not parser.parse_args().check:
        STUB.write_text(wanted)
        print(f"wrote {STUB.relative_to(ROOT)}")
        return 0
    present = STUB.read_text() if STUB.exists() else ""
    change = difflib.unified_diff(
        present.splitlines(True), wanted.splitlines(True), "python/flor/_core.pyi", "the extension"
    )
    sys.stdout.writelines(difference := list(change))
    print("stubs differ: run scripts/stubs" if difference else "stubs are what the extension is")
    return bool(difference)


if __name__ == "__main__":
    sys.exit(main())
