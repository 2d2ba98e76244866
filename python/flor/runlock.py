"""Who uses a run: recorders and replays hold a shared lock, whoever removes parts of it the other.

The lock is ``flock`` on ``runs/RUN/use.lock``; a process that is killed holds nothing. Where the
file can't be made (a store that can only be read) a user goes without: nobody but the store's owner
removes anything there.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_NAME = "use.lock"


def hold_run(folder: Path) -> int | None:
    """Say that this process uses the run in ``folder``, until the descriptor that comes back is
    closed or the process ends; waits while parts of the run are being removed.
    """
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError:  # a file system without locks: nothing is removed there
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def using_run(folder: Path) -> Iterator[None]:
    """Use the run in ``folder`` inside of the block."""
    descriptor = hold_run(folder)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextmanager
def alone_with_run(folder: Path) -> Iterator[bool]:
    """Whether nobody uses the run in ``folder``; then nobody begins to inside of the block."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
