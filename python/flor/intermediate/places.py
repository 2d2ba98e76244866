"""Which store intermediates go to, and what is recorded beside them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from flor import _core
from flor.intermediate.storage.store import IntermediateStore
from flor.layout import StoreLayout
from flor.recording import session as sessions
from flor.recording.record import RecordSession


def open_store(where: Any = None) -> IntermediateStore:
    """Return the intermediates of a store: a path, a ``flor.open`` store, one that is open; None:
    the store of the run that is recorded, else ``FLOR_STORE`` or ``./.flor``.

    A program that is replayed captures into a store that goes with the replay.
    """
    if isinstance(where, IntermediateStore):
        return where
    if where is not None:
        return IntermediateStore.open(getattr(where, "path", where), create=True)
    session = sessions.existing()
    if session is None:
        return IntermediateStore.open(create=True)
    if not _records(session):
        folder = Path(tempfile.mkdtemp(prefix="flor-intermediates-"))
        return IntermediateStore.open(folder / "store", create=True)
    layout: StoreLayout = getattr(session, "layout")  # noqa: B009
    return IntermediateStore.open(layout)


def recorded_run() -> dict[str, Any]:
    """Return the run and the context that something is captured in, where one is recorded."""
    session = sessions.existing()
    if not isinstance(session, RecordSession) or not _records(session):
        return {}
    context = [f"{loop}={index}" for loop, index in _core.context_path()]
    return {"run": session.run, "context": ", ".join(context)}


def _records(session: Any) -> bool:
    return bool(getattr(session, "landed", isinstance(session, RecordSession)))
