"""A write ban for replay workers: the user's files can't be changed, whatever the program does.

Linux's Landlock, where the kernel has it; it needs no privilege and reaches writers that no Python
hook sees (``torch.save``, C libraries, child processes). Reads go on everywhere. A forbidden write
fails with PermissionError in the program, so it is loud.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same numbers on all architectures
_PR_SET_NO_NEW_PRIVS = 38
_PATH_BENEATH = 1
_VERSION_FLAG = 1
_WRITE_FILE, _TRUNCATE, _REFER = 1 << 1, 1 << 14, 1 << 13
_CHANGE = sum(1 << bit for bit in range(4, 13))  # remove and make entries of every kind
_FILE_RIGHTS = _WRITE_FILE | _TRUNCATE

DEVICES = tuple(Path("/dev", name) for name in ("null", "shm", "tty", "pts"))


def forbid_writes(allowed: list[Path]) -> bool:
    """Forbid this process (and its children) to write outside ``allowed``; return whether that
    works here.

    Call it before other threads start: only the calling thread and its descendants are bound.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if abi < 1:
        return False
    handled = _WRITE_FILE | _CHANGE | (_REFER if abi >= 2 else 0) | (_TRUNCATE if abi >= 3 else 0)
    attribute = ctypes.create_string_buffer(struct.pack("=Q", handled), 8)
    rules = libc.syscall(_CREATE, attribute, ctypes.c_size_t(8), 0)
    if rules < 0:
        return False
    try:
        for path in allowed:
            _allow(libc, rules, path, handled)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return int(libc.syscall(_RESTRICT, rules, 0)) == 0
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, handled: int) -> None:
    with contextlib.suppress(OSError):  # a device that is not there needs no rule
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = handled if path.is_dir() else handled & _FILE_RIGHTS
            rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, place), 12)
            libc.syscall(_ADD, rules, _PATH_BENEATH, rule, 0)
        finally:
            os.close(place)
