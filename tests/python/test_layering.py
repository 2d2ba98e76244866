"""Dependencies point one way, and importing flor does nothing."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "flor"
CPP = ROOT / "cpp"

# What each part of the package may import.
BASE = {"errors", "files", "layout", "_core"}
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "layout": {"errors", "files"},
    "lossy": {"errors", "_core"},
    "solo": {"layout", "runlock"},
    "capture": BASE,
    "instrumentation": {"errors", "files"},
    "adapters": {"_core"},
    "recording": BASE | {"adapters", "capture", "instrumentation", "runlock", "sizes"},
    "history": BASE | {"instrumentation"},
    "replay": BASE
    | {"adapters", "history", "recording", "capture", "instrumentation", "query", "runlock"},
    "travel": BASE | {"replay", "recording", "capture", "instrumentation", "query", "runlock"},
    "query": BASE,
    "intermediate": BASE
    | {"query", "recording", "capture", "travel", "lossy", "runlock", "sizes", "handle"},
    "sizes": set(),
    "runlock": set(),
    "upkeep": BASE | {"intermediate", "query", "runlock", "sizes"},
}
FREE = {
    "__init__",
    "__main__",
    "cli",
    "demo",
    "bench",
    "examples",
    "handle",
    "logger",
    "checkpointer",
}
CPP_ALLOWED = {
    "base": set(),
    "format": {"base"},
    "codec": {"base", "format"},
    "log": {"base", "format", "codec"},
    "store": {"base", "format", "codec"},
    "snapshot": {"base", "format", "codec", "store", "log"},
    "read": {"base", "format", "codec", "store", "log"},
}
HEAVY = ("torch", "duckdb", "pyarrow", "pandas")


def part_of(path):
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py").removesuffix(".pyi")


def imported(path):
    """Yield the dotted names that a file imports, and whether at the top of the file."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            if module == "flor":
                yield from (f"flor.{alias.name}" for alias in node.names)
            else:
                yield module


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_python_arrows(path):
    part = part_of(path)
    names = list(imported(path))
    targets = {name.split(".")[1] for name in names if name.startswith("flor.")}
    if part not in {"cli", "__main__"}:
        assert "cli" not in targets
    if part in ALLOWED:
        assert targets <= ALLOWED[part] | {part}
    else:
        assert part in FREE, f"{part} is new: say in this test what it may import"
    if part not in {"capture", "intermediate", "examples", "bench"}:
        assert not [name for name in names if name.split(".")[0] == "torch"]


@pytest.mark.parametrize(
    "path",
    sorted([*CPP.rglob("*.h"), *CPP.rglob("*.cc")]),
    ids=lambda p: str(p.relative_to(CPP)),
)
def test_cpp_arrows(path):
    part = path.relative_to(CPP).parts[0]
    text = path.read_text()
    targets = {target.split("/")[0] for target in re.findall(r'#include "([^"]+/[^"]+)"', text)}
    if part != "bindings":
        assert targets <= CPP_ALLOWED[part] | {part}
        assert not re.search(r"#include [<\"](pybind11|Python\.h|torch)", text)


def run_python(code):
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light_and_starts_nothing(tmp_path):
    code = f"""
import os, sys
os.chdir({str(tmp_path)!r})
import flor
print([name for name in {HEAVY!r} if name in sys.modules])
print(len(os.listdir("/proc/self/task")), os.listdir("."))
"""
    assert run_python(code).splitlines() == ["[]", "1 []"]


def test_help_is_light():
    code = f"""
import sys
import flor.cli.main
try:
    flor.cli.main.main(["--help"])
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    assert run_python(code).splitlines()[-1] == "[]"
