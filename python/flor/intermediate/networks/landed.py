"""In the process of a recorded program: brought to a state, it captures its own network.

``python -m flor.intermediate.networks.landed FOLDER`` becomes that process (``flor.travel``), which
calls :func:`answer` with the program's variables. FOLDER holds request.json and gets answer.json.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flor.errors import FlorError, InvalidError
from flor.intermediate.networks.dataset import Batches, given_batches
from flor.intermediate.networks.keeping import keep
from flor.intermediate.networks.network import Network, plain
from flor.intermediate.networks.select import select
from flor.intermediate.storage.store import IntermediateStore
from flor.layout import StoreLayout


def main(folder: str) -> int:
    """Become the process of the program; returns only where that can't be."""
    from flor.travel.command import shell

    request = _request(Path(folder))
    store = Path(request["store"])
    try:
        shell(store, request["run"], request["at"], allow=[store, Path(folder)])
    except FlorError as error:
        _refuse(Path(folder), error)
    return 2


def answer(variables: Mapping[str, Any], folder: str) -> None:
    """Answer the request in ``folder``; typed errors are answers too."""
    path = Path(folder)
    try:
        request = _request(path)
        found = _ANSWERS[request["ask"]](variables, request, path)
    except FlorError as error:
        _refuse(path, error)
        return
    _write(path, found)


def _capture(variables: Mapping[str, Any], request: dict[str, Any], path: Path) -> dict[str, Any]:
    network = _network(variables, request, path)
    layers = request["layers"]
    chosen = select(layers, network.traced(), dict(network.net.named_modules())) if layers else []
    labels = {"run": request["run"], "at": request["at"]}
    with IntermediateStore.open(StoreLayout.open(request["store"])) as store:
        keep(network, store, chosen, request["code"], labels)
    np.save(path / "rows.npy", network.row_ids)
    return {
        "model": network.model,
        "data": network.data.fingerprint,
        "starts": network.data.starts,
        "layers": {
            name: dataclasses.asdict(dataclasses.replace(layer, step=None))
            for name, layer in network.traced().items()
        },
    }


def _compute(variables: Mapping[str, Any], request: dict[str, Any], path: Path) -> dict[str, Any]:
    network = _network(variables, request, path)
    _, values = network.compute(request["layer"])
    np.save(path / "values.npy", values)
    return {}


def _states(variables: Mapping[str, Any], request: dict[str, Any], path: Path) -> dict[str, Any]:
    import torch

    found = {name: net.state_dict() for name, net in _models(variables).items()}
    torch.save(found, path / "states.pt")
    return {"states": list(found)}


_ANSWERS = {"capture": _capture, "compute": _compute, "states": _states}


def _network(variables: Mapping[str, Any], request: dict[str, Any], path: Path) -> Network:
    net = _model(variables, request["model"])
    saved = path / "data.pt"
    data = _saved(saved) if saved.exists() else _variable(variables, request["data"], "data")
    return Network(net, data, what=request["what"], batch=request["batch"])


def _saved(path: Path) -> Batches:
    import torch

    content = torch.load(path, weights_only=True)
    return given_batches(content["rows"].numpy(), content["starts"], content["batches"])


def _model(variables: Mapping[str, Any], name: str | None) -> Any:
    """Return the program's network: the named one, or the only one."""
    import torch

    if name is not None:
        found = plain(_variable(variables, name, "model"))
        if not isinstance(found, torch.nn.Module):
            raise InvalidError(f"model={name!r} is a {type(found).__name__} in the program")
        return found
    models = _models(variables)
    if len(models) == 1:
        return next(iter(models.values()))
    there = f"has several: {', '.join(models)}" if models else "has none in its variables"
    raise InvalidError(f"which model of the program? It {there}. Say model='NAME'")


def _models(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return the networks with weights that are no part of another, by the names of variables."""
    import torch

    found: dict[str, Any] = {}
    for name, value in variables.items():
        parts = {name: value}
        if not isinstance(value, torch.nn.Module | type) and hasattr(value, "__dict__"):
            parts = {f"{name}.{key}": part for key, part in vars(value).items()}
        for place, part in parts.items():
            net = plain(part)
            if isinstance(net, torch.nn.Module) and net.state_dict():
                found.setdefault(place, net)
    inner = {id(m) for net in found.values() for m in net.modules() if m is not net}
    models: dict[int, tuple[str, Any]] = {}
    for name, net in found.items():
        if id(net) not in inner:
            models.setdefault(id(net), (name, net))
    return dict(models.values())


def _variable(variables: Mapping[str, Any], expression: str, what: str) -> Any:
    try:
        return eval(expression, dict(variables))
    except Exception as error:
        raise InvalidError(
            f"{what}={expression!r} is no expression in the program's variables there: {error}"
        ) from error


def _request(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "request.json").read_text())
    return found


def _refuse(folder: Path, error: FlorError) -> None:
    _write(folder, {"error": type(error).__name__, "text": str(error)})


def _write(folder: Path, content: dict[str, Any]) -> None:
    (folder / "answer.json").write_text(json.dumps(content), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
