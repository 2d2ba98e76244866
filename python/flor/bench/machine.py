"""The machine and the kernel that figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def _field(path: str, name: str) -> str:
    file = Path(path)
    lines = file.read_text().splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def machine() -> dict[str, Any]:
    """Return processor, cores, memory, system, kernel line, Python and the load right now."""
    line = Path("/proc/cmdline")
    memory = _field("/proc/meminfo", "MemTotal").split()
    return {
        "cpu": _field("/proc/cpuinfo", "model name") or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int(memory[0]) / 2**20, 1) if memory else None,
        "system": f"{platform.system()} {platform.release()}",
        "kernel_line": line.read_text().strip() if line.exists() else "",
        "python": platform.python_version(),
        "load": [round(load, 2) for load in os.getloadavg()],
    }


def machine_line(it: dict[str, Any]) -> str:
    """Return the machine in one line."""
    load = "/".join(str(one) for one in it["load"])
    return (
        f"{it['cpu']}, {it['cores']} cores, {it['memory_gb']} GB, {it['system']}, "
        f"Python {it['python']}, load {load}"
    )
