"""Loops told by events, and acting on modules as they are imported. The libraries themselves:
test_libraries.py.
"""

from __future__ import annotations

import importlib
import sys

import pytest

from flor import _core
from flor.adapters.imports import WhenImported
from flor.adapters.stage import Stage, hears, runs, tell_with


class Library:
    """Trains as libraries do: calls what it is given for each event."""

    def __init__(self, callback, fails=False):
        self.callback, self.fails = callback, fails

    def fit(self):
        for epoch in (1, 2):
            self.tell("epoch", epoch)
            for batch in range(2):
                self.tell("batch", batch)
            self.tell("epoch_end", epoch)
        if self.fails:
            raise ValueError("broken")
        self.tell("end", 0)
        return "fitted"

    def tell(self, event, number):
        self.callback(event)


def path() -> list[tuple[str, int]]:
    return [(name.partition("#")[0], index) for name, index in _core.context_path()]


def follow(stage: Stage, _: Library, event: str, number: int) -> None:
    if event == "epoch":
        stage.step(0, "epoch", number)
    elif event == "batch":
        stage.step(1, "batch", number)
    elif event == "epoch_end":
        stage.leave(1)
    else:
        stage.leave()


@pytest.fixture
def library():
    kind = type("Library", (Library,), {"fit": Library.fit, "tell": Library.tell})
    runs("made up", kind, "fit")
    hears(kind, "tell", follow)
    return kind


def test_events_become_contexts(library):
    seen = []
    made = library(lambda event: seen.append((event, path())))
    assert made.fit() == "fitted"
    epochs = [(("epoch", 0),), (("epoch", 1),)]
    assert [tuple(path) for event, path in seen if event in ("epoch", "epoch_end")] == [
        epochs[0], epochs[0], epochs[1], epochs[1]
    ]  # fmt: skip
    assert [path for event, path in seen if event == "batch"] == [
        [("epoch", epoch), ("batch", batch)] for epoch in range(2) for batch in range(2)
    ]
    assert seen[-1] == ("end", [])


def test_an_exception_ends_the_loops(library):
    with pytest.raises(ValueError, match="broken"):
        library(lambda event: None, fails=True).fit()
    assert _core.context_path() == []

    def interrupt(event):
        if event == "batch":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library(interrupt).fit()
    assert _core.context_path() == []


def test_handlers_are_told_of_iterations_and_of_the_end(library):
    told = []

    class Handler:
        def iteration_ended(self, loop):
            told.append((loop.name.partition("#")[0], loop.index))

        def ended(self, loop, exhausted):
            told.append((loop.name.partition("#")[0], "exhausted" if exhausted else "left"))

    _core.set_loop_watcher(lambda loop: Handler() if loop.depth == 0 else None)
    try:
        library(lambda event: None).fit()
        assert told == [("epoch", 0), ("epoch", 1), ("epoch", "exhausted")]
        told.clear()
        with pytest.raises(ValueError, match="broken"):
            library(lambda event: None, fails=True).fit()
        assert told == [("epoch", 0), ("epoch", "left")]
    finally:
        _core.set_loop_watcher(None)


def test_a_listener_that_fails_is_told_and_training_goes_on():
    kind = type("Library", (Library,), {"fit": Library.fit, "tell": Library.tell})
    runs("made up", kind, "fit")
    hears(kind, "tell", lambda stage, *_: stage.step(0, "epoch", stage.missing))
    texts = []
    tell_with(texts.append)
    assert kind(lambda event: None).fit() == "fitted"
    assert len(texts) == 1 and "made up" in texts[0] and "missing" in texts[0]


def test_modules_are_acted_on_once_they_are_there(tmp_path, monkeypatch):
    (tmp_path / "adapted_here.py").write_text("value = 1\n")
    (tmp_path / "adapted_other.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    texts = []
    hook = WhenImported(
        {
            "adapted_here": lambda module: setattr(module, "value", module.value + 1),
            "adapted_other": lambda module: module.gone,
        },
        texts.append,
    )
    hook.install()
    try:
        module = importlib.import_module("adapted_here")
        assert module.value == 2
        assert type(module.__loader__).__name__ == type(module.__spec__.loader).__name__
        assert type(module.__loader__).__name__ == "SourceFileLoader"
        assert importlib.import_module("adapted_other").value == 1
        assert len(texts) == 1 and "adapted_other" in texts[0]
    finally:
        hook.remove()
        for name in ("adapted_here", "adapted_other"):
            sys.modules.pop(name, None)
