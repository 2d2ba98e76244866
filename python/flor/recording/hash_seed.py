"""The seed of string hashes: chosen before the program starts, so that sets keep their order.

It can be neither read back from a running interpreter nor set in one. So ``flor record`` starts its
interpreter once more, with a seed in the environment that the program then does not find there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PYTHONS = "PYTHONHASHSEED"
_OURS = "FLOR_HASH_SEED"
_claimed: str | None = None


def pin() -> None:
    """Start ``flor`` again with a chosen seed, unless that was done or the user chose one.

    In a process that is not the ``flor`` command nothing happens.
    """
    claim()
    if _claimed is not None or os.environ.get(_PYTHONS, "random") != "random":
        return
    if sys.flags.ignore_environment or not _is_command():
        return
    seed = str(int.from_bytes(os.urandom(4)))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, sys.orig_argv, os.environ | handed_over(seed))


def handed_over(seed: str) -> dict[str, str]:
    """Return what an interpreter must find in its environment to have a seed that flor chose."""
    return {_PYTHONS: seed, _OURS: seed}


def claim() -> None:
    """Take a seed that flor chose out of the environment: the program had none there."""
    global _claimed
    seed = os.environ.pop(_OURS, None)
    if seed is not None:
        _claimed = seed
        os.environ.pop(_PYTHONS, None)


def inherited() -> dict[str, str]:
    """Return what a process that takes over from this one must find in its environment."""
    return {} if _claimed is None else handed_over(_claimed)


def facts() -> dict[str, str | bool | None]:
    """Return what run.json says: the seed, and whether flor chose it."""
    found = _claimed if _claimed is not None else os.environ.get(_PYTHONS)
    return {"hash_seed": found, "hash_seed_chosen": _claimed is not None}


def _is_command() -> bool:
    started = Path(sys.argv[0])
    return started.name == "flor" or started.parts[-2:] == ("flor", "__main__.py")
