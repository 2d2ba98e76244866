"""A store opened by a user: ``flor.open(path)``."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flor import _core
from flor.errors import InvalidError
from flor.layout import StoreLayout

if TYPE_CHECKING:
    from flor.query import Table


class Store:
    """Everything that can be asked of a store. Reads only; safe while runs are written."""

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self._layout = StoreLayout.open(path)

    @property
    def path(self) -> str:
        """The store's folder."""
        return str(self._layout.root)

    def runs(self) -> Table:
        """Return a table with a row a run."""
        from flor import query

        return query.runs(self._layout)

    def logs(self, *names: str, run: str | None = None) -> Table:
        """Return logged values; see :func:`flor.logs`."""
        from flor import query

        return query.logs(self._layout, *names, run=run)

    def sql(self, text: str) -> Table:
        """Answer SQL; see :func:`flor.sql`."""
        from flor import query

        return query.sql(self._layout, text)

    def checkpoints(self, run: str | None = None) -> Table:
        """Return a table with a row a checkpoint."""
        from flor import query

        return query.checkpoints(self._layout, run)

    def load(
        self,
        run: str | None = None,
        at: dict[str, int] | None = None,
        rank: int | None = None,
    ) -> dict[str, Any]:
        """Return {name: state} at the end of iteration ``at``; see :func:`flor.load`.

        Raises RunNotFoundError, CheckpointNotFoundError (it names the nearest), CorruptError,
        InvalidError for a rank that the run does not have.
        """
        from flor.capture.checkpoint_file import find_checkpoint

        found = self._layout.resolve(run)
        store = _core.ChunkStore(self.path, readonly=True)
        return find_checkpoint(store, self._checkpoints_of(found, rank), at).states()

    def _checkpoints_of(self, run: str, rank: int | None) -> list[Path]:
        """Return the manifests of a rank; None: of the first one that has any."""
        ranks = self._layout.ranks(run)
        if rank is not None and rank not in ranks:
            there = ", ".join(map(str, ranks))
            raise InvalidError(f"run {run} has no rank {rank}; its ranks: {there}")
        chosen = ranks if rank is None else [rank]
        every = (self._layout.checkpoint_paths(run, one) for one in chosen)
        return next((paths for paths in every if paths), [])

    def __repr__(self) -> str:
        return f"flor.open({self.path!r})"
