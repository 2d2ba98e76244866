"""A state machine over one store: writers, readers, sweeps; nothing that is named is lost.

The model is a dict of contents by name. What an open writer has put counts as named: its process
may write the name down at any moment.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flor import _core


def content(number: int) -> bytes:
    """A few contents that share chunks: random, compressible, and tails of their own."""
    shared = np.random.default_rng(number % 3).bytes(65536)
    own = bytes([number]) * 70_000 if number % 2 else np.random.default_rng(number).bytes(70_000)
    return shared + own


CONTENTS = [content(number) for number in range(10)]
NUMBERS = st.integers(0, len(CONTENTS) - 1)


class Model(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="flor-model-"))
        (self.root / "flor.json").write_text("{}")
        self.named: dict[bytes, int] = {}
        self.writers: list[tuple[_core.ChunkStore, dict[bytes, int]]] = []
        self.reader = _core.ChunkStore(str(self.root), readonly=True)

    def teardown(self) -> None:
        for writer, _ in self.writers:
            writer.close()
        self.reader.close()
        shutil.rmtree(self.root)

    @rule()
    @precondition(lambda self: len(self.writers) < 3)
    def open_writer(self) -> None:
        self.writers.append((_core.ChunkStore(str(self.root)), {}))

    @rule(which=st.integers(0, 2), number=NUMBERS)
    @precondition(lambda self: self.writers)
    def put(self, which: int, number: int) -> None:
        writer, mine = self.writers[which % len(self.writers)]
        mine[writer.put(CONTENTS[number])] = number

    @rule(which=st.integers(0, 2))
    @precondition(lambda self: self.writers)
    def name(self, which: int) -> None:
        _, mine = self.writers[which % len(self.writers)]
        self.named |= mine
        mine.clear()

    @rule(which=st.integers(0, 2))
    @precondition(lambda self: self.writers)
    def close_writer(self, which: int) -> None:
        writer, _ = self.writers.pop(which % len(self.writers))
        writer.close()

    @rule(data=st.data())
    @precondition(lambda self: self.named)
    def forget(self, data: st.DataObject) -> None:
        del self.named[data.draw(st.sampled_from(sorted(self.named)))]

    @rule()
    def reopen_reader(self) -> None:
        self.reader.close()
        self.reader = _core.ChunkStore(str(self.root), readonly=True)

    @rule(between=st.lists(NUMBERS, max_size=2))
    def sweep(self, between: list[int]) -> None:
        """While the sweep holds its locks, before it removes anything, a writer goes on."""
        store = _core.ChunkStore(str(self.root))
        sweeper = _core.Sweeper(store)
        for ref in self.named:
            sweeper.mark(ref)
        for number in between if self.writers else []:
            self.put(0, number)
        sweeper.sweep()
        del sweeper
        store.close()

    @rule()
    @precondition(lambda self: not self.writers)
    def nothing_dead_is_left_after_a_sweep(self) -> None:
        self.sweep([])
        self.sweep([])  # the first may have made packs that are small and many
        fresh = _core.ChunkStore(str(self.root), readonly=True)
        live = {ref[at : at + 17] for ref in self.named for at in range(8, len(ref), 17)}
        dead = fresh.stats()["chunks"] - len(live)
        assert dead >= 0
        assert not (live == set() and fresh.packs()), "packs are left and nothing is named"
        fresh.close()

    @invariant()
    def all_that_is_named_reads(self) -> None:
        for ref, number in self.named.items():
            assert self.reader.get(ref) == CONTENTS[number]
        for writer, mine in self.writers:
            for ref, number in mine.items():
                assert writer.get(ref) == CONTENTS[number]
                assert self.reader.get(ref) == CONTENTS[number]


TestModel = Model.TestCase
TestModel.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
