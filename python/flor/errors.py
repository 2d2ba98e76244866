"""The errors flor raises, each also a builtin that people already catch.

::

    FlorError
    ├── InvalidError(ValueError)            an argument breaks a stated rule
    ├── ClosedError(ValueError)             used after close()
    ├── StorageError(OSError)               the disk or the system failed
    │   ├── NotFoundError(FileNotFoundError)
    │   ├── FullDiskError
    │   └── ReadOnlyError(PermissionError)
    ├── NotAStoreError(NotADirectoryError)  the folder is not a flor store
    ├── NewerFormatError(ValueError)        written by a later flor
    ├── CorruptError(ValueError)            bytes contradict their checksum or grammar
    │   └── LostChunkError(NotFoundError)   no pack holds a chunk that something names
    ├── RunNotFoundError(LookupError)       no run of that id or prefix
    ├── AmbiguousRunError(LookupError)      several runs share the prefix
    ├── CheckpointNotFoundError(LookupError)
    ├── SerializationError(TypeError)       a value that flor.log can't store
    ├── CaptureError(TypeError)             an object whose state can't be read
    ├── LayerNotFoundError(LookupError)     no layer, stage or column of that name, or it never ran
    ├── RowNotFoundError(IndexError)        rows that the data does not have
    ├── ChangedError(RuntimeError)          a model or data that is not what was captured
    └── ReplayError(RuntimeError)           a replay that can't be planned or run
        └── SourceError(ReplayError)        today's source does not parse, or does not match the run

Errors of the core carry ``path``, ``offset``, ``expected`` and ``found``.
"""

from __future__ import annotations


class FlorError(Exception):
    """Base of all errors that flor raises on purpose."""

    path: str = ""
    offset: int | None = None
    expected: str = ""
    found: str = ""


class InvalidError(FlorError, ValueError):
    """An argument breaks a stated rule."""


class ClosedError(FlorError, ValueError):
    """The object was closed."""


class StorageError(FlorError, OSError):
    """The disk or the operating system failed."""


class NotFoundError(StorageError, FileNotFoundError):
    """A file that should be there is not."""


class FullDiskError(StorageError):
    """No space is left on the device."""


class ReadOnlyError(StorageError, PermissionError):
    """The folder or the file can't be written."""


class NotAStoreError(FlorError, NotADirectoryError):
    """The folder is not a flor store."""


class NewerFormatError(FlorError, ValueError):
    """The bytes were written by a later version of flor."""


class CorruptError(FlorError, ValueError):
    """Bytes on disk contradict their checksum or grammar."""


class LostChunkError(CorruptError, NotFoundError):
    """A chunk that something in the store names is in no pack."""


class RunNotFoundError(FlorError, LookupError):
    """No run has this id or prefix."""


class AmbiguousRunError(FlorError, LookupError):
    """More than one run starts with this prefix."""


class CheckpointNotFoundError(FlorError, LookupError):
    """No checkpoint at the place asked for."""


class SerializationError(FlorError, TypeError):
    """A value that the log can't store."""


class CaptureError(FlorError, TypeError):
    """An object whose state can't be read or restored exactly."""


class LayerNotFoundError(FlorError, LookupError):
    """No layer, stage, column or unit has this name, or it never ran."""


class RowNotFoundError(FlorError, IndexError):
    """Rows that the data does not have."""


class ChangedError(FlorError, RuntimeError):
    """The model or the data is not what it was when its intermediates were captured."""


class ReplayError(FlorError, RuntimeError):
    """A replay that can't be planned or run."""


class SourceError(ReplayError):
    """Today's source does not parse, or does not match the recorded version."""
