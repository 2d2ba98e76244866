"""Intermediates of a model of a recorded run, at any iteration of it.

    flor.intermediates(run="latest", at={"epoch": 7}, layers="features.*", data=images, model=net)
    flor.intermediates(run="latest", at={"epoch": 7}, layers="features.*", data="test_loader")

With a model object its state is loaded from the checkpoint into a copy. Without one the recorded
program is brought to that state in a process of its own, as by ``flor shell``: there its own model
is captured, and read here. Where no checkpoint is, iterations are executed again, and it says so.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flor import _core, errors
from flor.capture.checkpoint_file import find_checkpoint
from flor.errors import CheckpointNotFoundError, InvalidError, ReplayError
from flor.intermediate.forms import Form, Key
from flor.intermediate.networks.arrays import Array, is_tensor
from flor.intermediate.networks.capture import Place, same_random_states
from flor.intermediate.networks.dataset import Batches, Rows, batches
from flor.intermediate.networks.network import plain
from flor.intermediate.networks.select import layer_named
from flor.intermediate.networks.trace import Layer
from flor.intermediate.storage.store import IntermediateStore

if TYPE_CHECKING:
    import torch

At = Mapping[str, int] | None


def network_at(store: IntermediateStore, run: str, at: At, model: Any) -> torch.nn.Module:
    """Return a copy of ``model`` with the state that it had at the end of an iteration.

    ``model``: a module, or {name: module} where several states of the run would fit it. Raises
    InvalidError where none fits, RunNotFoundError, ReplayError.
    """
    name, net = _named(model)
    states = _states(store, run, at)
    found = _fitting(states, net, name, run)
    own = copy.deepcopy(net)
    own.load_state_dict(states[found])
    return own


def _named(model: Any) -> tuple[str | None, Any]:
    if not isinstance(model, Mapping):
        return None, plain(model)
    if len(model) != 1:
        raise InvalidError(f"model={{…}} names {len(model)} models: one is captured at a time")
    ((name, net),) = model.items()
    return name, plain(net)


def _states(store: IntermediateStore, run: str, at: At) -> Mapping[str, Any]:
    layout = store.layout
    chunks = _core.ChunkStore(str(layout.root), readonly=True)
    paths = [path for rank in layout.ranks(run) for path in layout.checkpoint_paths(run, rank)]
    try:
        return find_checkpoint(chunks, paths, dict(at) if at else None).states()
    except CheckpointNotFoundError:
        if at is None:
            raise
        with _asked(store, run, at, {"ask": "states"}) as (_, folder):
            found: Mapping[str, Any] = _loaded(folder / "states.pt")
            return found
    finally:
        chunks.close()


def _fitting(states: Mapping[str, Any], net: Any, name: str | None, run: str) -> str:
    """Return the name of the state that belongs to a network."""
    shapes = {
        key: tuple(value.shape) for key, value in net.state_dict().items() if is_tensor(value)
    }
    fits = [key for key, state in states.items() if _shapes(state) == shapes]
    if name is not None and name in states and name not in fits:
        why = _why(shapes, states[name])
        raise InvalidError(f"the state {name!r} of run {run} is not one of this model: {why}")
    if name is not None:
        fits = [key for key in fits if key == name]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise InvalidError(
            f"several states of run {run} fit this model: {', '.join(fits)}. Say which: "
            f"model={{{fits[0]!r}: net}}"
        )
    near = [key for key in states if _shapes(states[key])]
    why = f" {near[0]!r}: {_why(shapes, states[near[0]])}" if near else ""
    there = ", ".join(states) or "it has none"
    raise InvalidError(f"no state of run {run} ({there}) fits this model.{why}")


def _shapes(state: Any) -> dict[str, tuple[int, ...]]:
    if not isinstance(state, Mapping):
        return {}
    return {key: tuple(value.shape) for key, value in state.items() if is_tensor(value)}


def _why(shapes: Mapping[str, Any], state: Any) -> str:
    found = _shapes(state)
    for key in [*shapes, *found]:
        if shapes.get(key) != found.get(key):
            return f"{key} has the shape {found.get(key)} there, {shapes.get(key)} here"
    return "their names differ"


# -- without a model object: the program itself, in a process of its own ---------------------------


class Recorded:
    """The computation of a network inside a recorded program, at one of its states.

    For a layer that was not captured at once the program is brought there again; what it computes
    then, all rows, is kept in a temporary folder as long as this is used. Not thread-safe.
    """

    def __init__(
        self, store: IntermediateStore, run: str, at: At, request: dict[str, Any], data: Any
    ) -> None:
        self._store, self._run, self._at = store, run, at
        self._request, self._given = request, data
        self._folder = Path(tempfile.mkdtemp(prefix="flor-computed-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._computed: dict[str, Array] = {}
        answer, ids = self._ask({"ask": "capture"}, "rows.npy")
        self.model, self.data = answer["model"], answer["data"]
        self.row_ids: Rows = np.array(ids)
        self._batches = Batches(self.row_ids, answer["starts"])
        self._seconds = float(answer["wall"])
        self._layers = {name: Layer(**_layer(each)) for name, each in answer["layers"].items()}

    def _ask(self, more: dict[str, Any], array: str) -> tuple[dict[str, Any], Array]:
        with _asked(self._store, self._run, self._at, self._request | more, self._given) as found:
            answer, folder = found
            path = self._folder / f"{len(self._computed)}-{array}"
            shutil.move(folder / array, path)
            return answer, np.load(path, mmap_mode="r", allow_pickle=False)

    def layers(self) -> Sequence[str]:
        """Return the names of what can be captured, in order."""
        return [name for name, layer in self._layers.items() if not layer.problem]

    def _layer(self, name: str) -> Layer:
        return layer_named(name, self._layers, {})

    def key(self, layer: str) -> Key:
        """Return the name of a layer's values by content."""
        place = self._layer(layer).place
        return Key(self.model, place.layer, self.data, place.what)

    def form(self, layer: str) -> Form:
        """Return the shape and type of one row."""
        found = self._layer(layer)
        return Form.tensor(found.unit_shape, found.dtype)

    def parents(self, layer: str) -> Sequence[str]:
        """Return nothing: the program computes from its input."""
        self._layer(layer)
        return []

    def together(self, rows: Any) -> Any:
        """Return the ids of all rows that share a batch with these."""
        return self._batches.together(rows)

    def seconds(self, layer: str, rows: int, given: Set[str] = frozenset()) -> float:
        """Return how long bringing the program there and a pass will take."""
        if self._layer(layer).name in self._computed:
            return 1e-6 * rows
        return self._seconds + self._layer(layer).seconds * len(self._batches)

    def compute(
        self, layer: str, rows: Any = None, given: Mapping[str, Any] | None = None
    ) -> tuple[Rows, Array]:
        """Return (row ids, values), computed in the program's own process."""
        self._layer(layer)
        places = slice(None) if rows is None else self._batches.positions(rows)
        if layer not in self._computed:
            answer, values = self._ask({"ask": "compute", "layer": layer}, "values.npy")
            self._seconds = float(answer["wall"])
            self._computed[layer] = values
        return self.row_ids[places], self._computed[layer][places]


def _layer(content: dict[str, Any]) -> dict[str, Any]:
    return content | {
        "place": Place(**content["place"]),
        "unit_shape": tuple(content["unit_shape"]),
    }


@contextmanager
def _asked(
    store: IntermediateStore, run: str, at: At, request: dict[str, Any], data: Any = None
) -> Iterator[tuple[dict[str, Any], Path]]:
    """Bring a program to a state, ask it, and yield (answer, folder with its arrays)."""
    with tempfile.TemporaryDirectory(prefix="flor-ask-") as name:
        folder = Path(name)
        content = request | {
            "store": str(store.layout.root),
            "run": run,
            "at": None if at is None else dict(at),
            "folder": name,
        }
        if data is not None:
            _save(data, request.get("batch"), folder / "data.pt")
        (folder / "request.json").write_text(json.dumps(content), encoding="utf-8")
        begun = time.perf_counter()
        told = _run_program(folder)
        answer = folder / "answer.json"
        if not answer.exists():
            raise ReplayError(
                f"run {run} could not be brought to {_shown(at)}, so nothing was captured: {told}"
            )
        found = json.loads(answer.read_text())
        if "error" in found:
            raise getattr(errors, found["error"])(found["text"])
        yield found | {"wall": time.perf_counter() - begun}, folder


def _run_program(folder: Path) -> str:
    """Run the program that answers; pass on what it tells, return the last of it."""
    words = [sys.executable, "-m", "flor.intermediate.networks.landed", str(folder)]
    statement = (
        "__import__('flor.intermediate.networks.landed', fromlist=['answer'])"
        f".answer(dict(globals()), {str(folder)!r})\n"
    )
    process = subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stderr is not None
    process.stdin.write(statement)
    process.stdin.close()
    last = "it said nothing"
    for line in process.stderr:
        sys.stderr.write(line)
        last = line.strip() or last
    code = process.wait()
    return f"{last} (exit code {code})"


def _shown(at: At) -> str:
    return "its last state" if at is None else ", ".join(f"{k}={v}" for k, v in at.items())


def _save(data: Any, batch: int | None, path: Path) -> None:
    """Write batches where the other process reads them: tensors and numbers only."""
    import torch

    with same_random_states():
        found = batches(data, batch)
        content = {
            "rows": torch.from_numpy(found.row_ids),
            "starts": found.starts,
            "batches": [each for _, each in found.take(range(len(found)))],
        }
    try:
        torch.save(content, path)
        torch.load(path, weights_only=True)
    except Exception as cause:
        raise InvalidError(
            "data goes to the process of the recorded program as tensors, and this holds something "
            f"else ({cause}): give tensors or arrays, or the name of a variable of the program"
        ) from cause


def _loaded(path: Path) -> Any:
    import torch

    return torch.load(path, weights_only=True)
