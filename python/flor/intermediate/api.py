"""``flor.intermediates``: one call for networks, recorded runs and pipelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from flor.errors import InvalidError
from flor.intermediate.places import open_store

if TYPE_CHECKING:
    from flor.intermediate.handle import Handle
    from flor.intermediate.networks.live import Live
    from flor.intermediate.pipelines.pipeline import Recording
    from flor.intermediate.storage.store import IntermediateStore


KEPT = "affine8"  # how the planner keeps answers


def intermediates(
    model: Any = None,
    *,
    layers: Any = None,
    data: Any = None,
    run: str | None = None,
    at: Mapping[str, int] | None = None,
    what: str | Sequence[str] = ("output",),
    code: str | None = None,
    batch: int | None = None,
    call: Callable[[Any, Any], Any] | None = None,
    loss: Callable[[Any, Any], Any] | None = None,
    overhead: float | None = None,
    budget: int | str | None = None,
    store: str | PathLike[str] | IntermediateStore | None = None,
    row_id: str | None = None,
    trust: bool = False,
) -> Handle | Live | Recording:
    """Keep what a model computes on the way, and ask about it: a handle with queries.

    ``model``: a torch module; a fitted scikit-learn pipeline; a function that calls stages
    (:func:`flor.stage`), or the name under which one ran last; None: the stages that run in a
    ``with`` block. ``layers``: what to capture at once: a name, a pattern (``features.*``), a class
    of modules, a module, or several; None: nothing yet, of pipelines all. Every layer can be asked
    for: the planner reads it or computes it again.
    ``data``: a tensor or array, a tuple or dict of them, a DataLoader, a Dataset, a list of
    batches; of pipelines a table, or a dict of them by argument. Without it the result is a context
    manager and a decorator, which captures what the network computes meanwhile. ``run``, ``at``:
    the model as it was at the end of an iteration of a run; ``model`` is then a module of that
    structure, a name in the program, or None for the program's only one; ``data`` may be an
    expression in the program's variables.

    ``what``: output, input, gradient (needs ``loss(output, batch)``), attention. ``code``: how
    values are kept (see ``intermediate/storage/codes.py``): exact, affine8, pool2 …; None: what is
    captured at once exactly, what is kept of answers by affine8. ``batch``: rows a batch where the
    data has none. ``call(model, batch)``: how a batch is given to the model. ``overhead``: the
    bound of live capture. ``budget``: bytes that the planner may keep. ``store``: where; None: the
    store of the run, FLOR_STORE or ./.flor, made when it is not there. ``row_id``: of pipelines,
    the column that has the ids of rows. ``trust``: unpickle what a pipeline of that name fitted.

    Raises InvalidError, LayerNotFoundError, CaptureError, ChangedError, RunNotFoundError,
    CheckpointNotFoundError, ReplayError, StorageError.
    """
    options = {"layers": layers, "code": code, "budget": budget}
    if run is not None or at is not None:
        where = {"run": run, "at": at, "what": what, "batch": batch, "call": call, "loss": loss}
        return _of_run(model, data, open_store(store), where, options)
    if not _is_network(model):
        from flor.intermediate.pipelines.pipeline import intermediates_of

        _refuse_of_networks(what=what, batch=batch, call=call, loss=loss, overhead=overhead)
        opened = open_store(store)
        return intermediates_of(model, data, store=opened, row_id=row_id, trust=trust, **options)
    if data is None:
        from flor.intermediate.networks.live import Live

        meant = "*" if layers is None else layers
        return Live(
            model, layers=meant, what=what, code=code or "exact", store=store, overhead=overhead
        )
    return _of_network(
        model, data, open_store(store), {"what": what, "batch": batch, "call": call, "loss": loss},
        options, {},
    )  # fmt: skip


def _refuse_of_networks(what: Any, **options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    given += [] if what in ("output", ("output",)) else ["what"]
    if given:
        raise InvalidError(f"{', '.join(given)}= belongs to networks, and this is none")


def _is_network(model: Any) -> bool:
    import sys

    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def _of_network(
    model: Any,
    data: Any,
    store: IntermediateStore,
    how: dict[str, Any],
    options: dict[str, Any],
    labels: dict[str, Any],
) -> Handle:
    from flor.intermediate.handle import Handle
    from flor.intermediate.networks.keeping import keep
    from flor.intermediate.networks.network import Network
    from flor.intermediate.networks.select import select
    from flor.intermediate.places import recorded_run

    network = Network(model, data, **how)
    layers, code = options["layers"], options["code"] or "exact"
    if layers is not None:
        chosen = select(layers, network.traced(), dict(network.net.named_modules()))
        keep(network, store, chosen, code, recorded_run() | labels)
    return Handle(store, network, code=options["code"] or KEPT, budget=options["budget"])


def _of_run(
    model: Any,
    data: Any,
    store: IntermediateStore,
    where: dict[str, Any],
    options: dict[str, Any],
) -> Handle:
    from flor.intermediate.handle import Handle
    from flor.intermediate.networks.runs import Recorded, network_at

    run, at = store.layout.resolve(where.pop("run")), where.pop("at")
    if data is None:
        raise InvalidError(
            "which rows? Give data=, or the name of a variable of the program: data='test_loader'"
        )
    if model is not None and not isinstance(model, str):
        if isinstance(data, str):
            raise InvalidError(
                f"data={data!r} names a variable of the recorded program, which does not run where "
                "a model object is given: leave model= out, or give the data themselves"
            )
        net = network_at(store, run, at, model)
        return _of_network(net, data, store, where, options, {"run": run, "at": at})
    if where["call"] is not None or where["loss"] is not None:
        raise InvalidError(
            "call= and loss= are functions of this process, and without a model object the "
            "recorded program computes in its own: give the model too"
        )
    request = {
        "model": model,
        "data": data if isinstance(data, str) else None,
        "layers": _texts(options["layers"]),
        "what": list(where["what"]) if not isinstance(where["what"], str) else [where["what"]],
        "batch": where["batch"],
        "code": options["code"] or "exact",
    }
    computation = Recorded(store, run, at, request, None if isinstance(data, str) else data)
    return Handle(store, computation, code=options["code"] or KEPT, budget=options["budget"])


def _texts(layers: Any) -> list[str] | None:
    """Return layers as another process can be told them."""
    from flor.intermediate.networks.select import as_list

    found = None if layers is None else as_list(layers)
    if found is not None and not all(isinstance(one, str) for one in found):
        raise InvalidError(
            f"layers={layers!r}: without a model object layers are names or patterns, such as "
            "'features.*'"
        )
    return found
