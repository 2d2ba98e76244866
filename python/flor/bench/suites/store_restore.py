"""A checkpoint of a training, back in the live objects; and one tensor out of it."""

from __future__ import annotations

import hashlib
import importlib
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from flor.bench.apart import apart
from flor.bench.harness import BenchError, Experiment, Figure, Figures
from flor.bench.peers import Peer
from flor.bench.suites import Plan

REPEATS = 3
KEY_INTERVAL = 8  # of checkpoints: the last before the next key has the most different base
TENSOR = "blocks.1.up.weight"

Action = Callable[[], Any]


def digest(state: dict[str, Any]) -> str:
    """Return a name for the content of all tensors of a state."""
    import torch

    from flor.bench.workloads import flat

    found = hashlib.blake2b()
    for name, tensor in flat(state).items():
        found.update(name.encode())
        found.update(tensor.detach().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def make(folder: Path, place: Path, size: Any) -> Figures:
    """Train with eight checkpoints of flor, and write the state of the last one for each peer."""
    import torch

    import flor
    from flor.bench.workloads import Training, flat

    place.mkdir()
    training = Training(size)
    with flor.Checkpointer(place / "flor", training.objects()) as checkpointer:
        for _ in range(KEY_INTERVAL):
            training.step()
            checkpointer.save().wait()
    state = training.state()
    (place / "digest").write_text(digest(state))
    torch.save(state, place / "state.pt")
    tensors = {name: tensor.detach() for name, tensor in flat(state).items()}
    for write in (_safetensors, _hdf5, _zarr, _dcp, _torchsnapshot):
        try:
            write(place, tensors, training)
        except ImportError:
            continue  # the report says which are missing
    return {}


def _safetensors(place: Path, tensors: dict[str, Any], training: Any) -> None:
    importlib.import_module("safetensors.torch").save_file(tensors, place / "state.safetensors")


def _hdf5(place: Path, tensors: dict[str, Any], training: Any) -> None:
    with importlib.import_module("h5py").File(place / "state.h5", "w") as file:
        for name, tensor in tensors.items():
            file[name] = tensor.numpy()


def _zarr(place: Path, tensors: dict[str, Any], training: Any) -> None:
    group = importlib.import_module("zarr").open_group(place / "state.zarr", mode="w")
    for name, tensor in tensors.items():
        group.create_array(name, data=tensor.numpy())


def _dcp(place: Path, tensors: dict[str, Any], training: Any) -> None:
    dcp = importlib.import_module("torch.distributed.checkpoint")
    dcp.save(tensors, checkpoint_id=str(place / "dcp"), no_dist=True)


def _torchsnapshot(place: Path, tensors: dict[str, Any], training: Any) -> None:
    library = importlib.import_module("torchsnapshot")
    library.Snapshot.take(str(place / "torchsnapshot"), training.objects())


def restore(folder: Path, place: Path, size: Any, how: str) -> Figures:
    """Return how long a restore into live objects takes, checked, after a warm-up."""
    from flor.bench.workloads import Training

    training = Training(size)
    action = _RESTORES[how](place, training)
    times = []
    for _ in range(REPEATS + 1):
        training.step()
        time.sleep(0.05)  # PyTorch's threads wait for more work, and use a core for that
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    if how != "alone" and digest(training.state()) != (place / "digest").read_text():
        raise BenchError("it restored another state")
    return {"restore": statistics.median(times[1:]) * 1e3}


def _flor(place: Path, training: Any) -> Action:
    import flor

    checkpointer = flor.Checkpointer(place / "flor", training.objects())
    return checkpointer.restore


def _torch_load(place: Path, training: Any) -> Action:
    import torch

    def action() -> None:
        state = torch.load(place / "state.pt", weights_only=True)
        training.model.load_state_dict(state["model"])
        training.optimizer.load_state_dict(state["optimizer"])

    training.step()
    return action


def _torch_load_alone(place: Path, training: Any) -> Action:
    import torch

    return lambda: torch.load(place / "state.pt", weights_only=True)


def _into(training: Any, fill: Callable[[str, Any], object]) -> Action:
    """Fill each live tensor by its name."""
    import torch

    from flor.bench.workloads import flat

    training.step()  # makes the optimizer's state

    def action() -> None:
        with torch.no_grad():
            for name, tensor in flat(training.state()).items():
                fill(name, tensor)

    return action


def _from_safetensors(place: Path, training: Any) -> Action:
    safe_open = importlib.import_module("safetensors").safe_open

    def action() -> None:
        with safe_open(place / "state.safetensors", framework="pt") as file:
            _into_live(training, lambda name, tensor: tensor.copy_(file.get_tensor(name)))

    training.step()
    return action


def _into_live(training: Any, fill: Callable[[str, Any], object]) -> None:
    _into(training, fill)()


def _from_hdf5(place: Path, training: Any) -> Action:
    file = importlib.import_module("h5py").File(place / "state.h5", "r")

    def fill(name: str, tensor: Any) -> None:
        if tensor.ndim:
            file[name].read_direct(tensor.detach().numpy())
        else:
            tensor.fill_(file[name][()])

    return _into(training, fill)


def _from_zarr(place: Path, training: Any) -> Action:
    import torch

    group = importlib.import_module("zarr").open_group(place / "state.zarr", mode="r")
    return _into(training, lambda name, tensor: tensor.copy_(torch.as_tensor(group[name][...])))


def _from_dcp(place: Path, training: Any) -> Action:
    from flor.bench.workloads import flat

    dcp = importlib.import_module("torch.distributed.checkpoint")
    training.step()
    return lambda: dcp.load(flat(training.state()), checkpoint_id=str(place / "dcp"), no_dist=True)


def _from_torchsnapshot(place: Path, training: Any) -> Action:
    library = importlib.import_module("torchsnapshot")
    training.step()
    snapshot = library.Snapshot(str(place / "torchsnapshot"))
    return lambda: snapshot.restore(training.objects())


_RESTORES: dict[str, Callable[[Path, Any], Action]] = {
    "flor": _flor,
    "torch.load": _torch_load,
    "alone": _torch_load_alone,
    "safetensors": _from_safetensors,
    "hdf5": _from_hdf5,
    "zarr": _from_zarr,
    "dcp": _from_dcp,
    "torchsnapshot": _from_torchsnapshot,
}


def one_tensor(folder: Path, place: Path, how: str) -> Figures:
    """Return how long it takes to open what was written and read one weight, checked."""
    import torch

    read = _READS[how]
    wanted = torch.load(place / "state.pt", weights_only=True)["model"][TENSOR]
    times = []
    for _ in range(10 * REPEATS):
        begin = time.perf_counter()
        found = read(place)
        times.append(time.perf_counter() - begin)
    if not torch.equal(torch.as_tensor(found), wanted):
        raise BenchError("it read another tensor")
    return {"read": statistics.median(times[REPEATS:]) * 1e3}


def _tensor_of_flor(place: Path) -> Any:
    from flor import _core
    from flor.capture.checkpoint_file import CheckpointFile
    from flor.layout import StoreLayout

    layout = StoreLayout.open(place / "flor")
    path = layout.checkpoint_paths(layout.run_ids()[0])[-1]
    store = _core.ChunkStore(str(layout.root), readonly=True)
    return CheckpointFile(store, path).state("model", TENSOR)


def _tensor_of_torch(place: Path, mmap: bool = False) -> Any:
    import torch

    state = torch.load(place / "state.pt", weights_only=True, mmap=mmap)
    return state["model"][TENSOR].clone()


def _tensor_of_torch_mmap(place: Path) -> Any:
    return _tensor_of_torch(place, mmap=True)


def _tensor_of_safetensors(place: Path) -> Any:
    safe_open = importlib.import_module("safetensors").safe_open
    with safe_open(place / "state.safetensors", framework="pt") as file:
        return file.get_tensor(f"model.{TENSOR}").clone()


def _tensor_of_hdf5(place: Path) -> Any:
    with importlib.import_module("h5py").File(place / "state.h5", "r") as file:
        return file[f"model.{TENSOR}"][...]


def _tensor_of_zarr(place: Path) -> Any:
    group = importlib.import_module("zarr").open_group(place / "state.zarr", mode="r")
    return group[f"model.{TENSOR}"][...]


_READS: dict[str, Callable[[Path], Any]] = {
    "flor": _tensor_of_flor,
    "torch.load": _tensor_of_torch,
    "torch.load, mmap": _tensor_of_torch_mmap,
    "safetensors": _tensor_of_safetensors,
    "HDF5": _tensor_of_hdf5,
    "zarr": _tensor_of_zarr,
}
_MODULES = {"safetensors": "safetensors", "HDF5": "h5py", "zarr": "zarr"}


def experiments(plan: Plan) -> Iterator[Experiment]:
    """Yield: the whole state; one tensor."""
    titles = ("A checkpoint, into live objects", "One tensor of a checkpoint")
    if not any(map(plan.wants, titles)):
        return
    from flor.bench.workloads import LARGE, QUICK

    size, place = QUICK if plan.quick else LARGE, plan.scratch / "restore"
    apart(make, plan.scratch, place=place, size=size)()

    def peer(name: str, how: str, module: str = "torch", ours: bool = False) -> Peer:
        return Peer(name, restore, module, given={"how": how}, ours=ours)

    if plan.wants(titles[0]):
        yield plan.experiment(
            titles[0],
            "The state of a transformer with AdamW: flor's eighth checkpoint, a difference to the "
            "first.",
            [Figure("restore", "ms")],
            [
                peer("torch.load", "torch.load"),
                peer("torch.load, alone", "alone"),
                peer("flor", "flor", ours=True),
                peer("safetensors", "safetensors", "safetensors"),
                peer("HDF5", "hdf5", "h5py"),
                peer("zarr", "zarr", "zarr"),
                peer("DCP load", "dcp"),
                peer("torchsnapshot", "torchsnapshot", "torchsnapshot"),
            ],
            (1, 5),
            base="torch.load",
            place=place,
            size=size,
        )
    if plan.wants(titles[1]):
        yield plan.experiment(
            titles[1],
            f"{TENSOR} of that state, the file opened anew each time.",
            [Figure("read", "ms")],
            [
                Peer(name, one_tensor, _MODULES.get(name, "torch"), given={"how": name},
                     ours=name == "flor")
                for name in _READS
            ],
            (1, 5),
            base="torch.load",
            place=place,
        )  # fmt: skip
    shutil.rmtree(place)
