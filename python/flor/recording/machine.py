"""What the bits of a training depend on besides the program: CPU, versions, thread counts."""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from flor.layout import boot_id
from flor.recording import hash_seed

_PACKAGES = {"numpy": "numpy", "torch": "torch", "sklearn": "scikit-learn", "pandas": "pandas"}
_PACKAGES |= {name: name for name in ("accelerate", "keras", "lightning", "skorch", "transformers")}
_PACKAGES |= {"ignite": "pytorch-ignite", "pytorch_lightning": "pytorch-lightning"}
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def cpu_model() -> str:
    """Return the name of the CPU as the kernel tells it, the architecture where it does not."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def process() -> dict[str, Any]:
    """Return how this process was started, where, and what runs it, for run.json."""
    return {
        "argv": list(sys.argv[1:]),
        "argv0": sys.argv[0] if sys.argv else "",
        "cwd": str(Path.cwd()),
        "pid": os.getpid(),
        "host": platform.node(),
        "boot": boot_id(),
        "python": platform.python_version(),
        "cpu": platform.machine(),
        "cpu_model": cpu_model(),
        "packages": packages(),
        **hash_seed.facts(),
    }


def packages() -> dict[str, str]:
    """Return the versions of the numeric packages that are loaded."""
    found = {}
    for name in _PACKAGES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if version:
            found[name] = str(version)
    return found


def threads() -> dict[str, Any]:
    """Return the thread counts that results depend on."""
    found: dict[str, Any] = {key: os.environ.get(key) for key in _THREADS}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = torch.get_num_threads()
    return found


def unlike(meta: dict[str, Any]) -> list[str]:
    """Say where this machine differs from the one that recorded a run (its run.json).

    Bits are promised for equal ones only.
    """
    from importlib import metadata  # takes long to import, and recording needs it not

    here = {"cpu_model": cpu_model(), "python": platform.python_version()}
    found = [
        f"recorded with {name.replace('_', ' ')} {meta[name]}, replayed with {value}"
        for name, value in here.items()
        if meta.get(name) and meta[name] != value
    ]
    for name, version in (meta.get("packages") or {}).items():
        with suppress(metadata.PackageNotFoundError):
            now = metadata.version(_PACKAGES.get(name, name))
            if now != version:
                found.append(f"recorded with {name} {version}, replayed with {now}")
    return found
