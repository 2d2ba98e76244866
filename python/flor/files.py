"""Small JSON files replaced in one atomic step, and operating-system errors said as flor errors."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any

from flor.errors import CorruptError, FullDiskError, ReadOnlyError, StorageError

_SAMPLES, _BLOCK = 16, 4096


def storage_error(cause: OSError, path: Path, doing: str) -> StorageError:
    """Return the flor error for an ``OSError`` met while ``doing`` something to ``path``."""
    kind, remedy = StorageError, "check the folder and the disk"
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        kind, remedy = FullDiskError, "free space, or give another store with --store or FLOR_STORE"
    elif cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        kind, remedy = ReadOnlyError, "make the folder writable, or give another with --store"
    error = kind(f"can't {doing} {path}: {cause.strerror or cause}; {remedy}")
    error.errno, error.path = cause.errno, str(path)
    return error


def sample_of(path: Path) -> str:
    """Return a fingerprint of a file: its length and up to 17 blocks of 4 KiB, evenly spaced.

    Different fingerprints prove a difference, equal ones do not prove that there is none.
    """
    size = path.stat().st_size
    hasher = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
    with path.open("rb") as file:
        for part in range(_SAMPLES + 1):
            file.seek(max(0, size - _BLOCK) * part // _SAMPLES)
            hasher.update(file.read(_BLOCK))
    return hasher.hexdigest()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Replace ``path`` by ``content`` as JSON in one atomic, durable step; raises StorageError."""
    temp = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(3)}.tmp")
    try:
        with temp.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temp.replace(path)
    except OSError as cause:
        with contextlib.suppress(OSError):
            temp.unlink()
        raise storage_error(cause, path, "write") from cause


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in ``path``; raises CorruptError, StorageError."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as cause:
        raise storage_error(cause, path, "read") from cause
    except ValueError as cause:
        content = str(cause)
    if not isinstance(content, dict):
        error = CorruptError(f"{path} is damaged: expected a JSON object, found {content!r:.80}")
        error.path, error.expected, error.found = str(path), "a JSON object", f"{content!r:.80}"
        raise error
    return content
