"""Other ways to save a training state, at their defaults."""

from __future__ import annotations

import copy
import importlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Handle = Callable[[], bool]
Save = Callable[[int], Handle]


def _at_once() -> bool:
    return True


@contextmanager
def torch_save(folder: Path, training: Any) -> Iterator[Save]:
    """``torch.save`` of the state dicts, in the way."""
    import torch

    def save(number: int) -> Handle:
        torch.save(training.state(), folder / f"{number % 2}.pt")
        return _at_once

    yield save


@contextmanager
def safetensors(folder: Path, training: Any) -> Iterator[Save]:
    """safetensors, in the way."""
    from flor.bench.workloads import flat

    library = importlib.import_module("safetensors.torch")

    def save(number: int) -> Handle:
        library.save_file(flat(training.state()), folder / f"{number % 2}.safetensors")
        return _at_once

    yield save


@contextmanager
def fork_save(folder: Path, training: Any) -> Iterator[Save]:
    """A forked child calls ``torch.save``: the way of the Flor paper."""
    import torch

    def save(number: int) -> Handle:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                torch.set_num_threads(1)
                torch.save(training.state(), folder / f"{number % 2}.pt")
                code = 0
            finally:
                os._exit(code)
        ended: list[int] = []

        def durable() -> bool:
            if not ended:
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid and status:
                    raise RuntimeError(f"the child ended with {status}")
                ended.extend([pid] if pid else [])
            return bool(ended)

        return durable

    yield save


@contextmanager
def deepcopy_thread(folder: Path, training: Any) -> Iterator[Save]:
    """A deep copy, which a Python thread saves."""
    import torch

    def save(number: int) -> Handle:
        copied = copy.deepcopy(training.state())
        path = folder / f"{number % 2}.pt"
        thread = threading.Thread(target=torch.save, args=(copied, path))
        thread.start()
        return lambda: not thread.is_alive()

    yield save


@contextmanager
def dcp_save(folder: Path, training: Any) -> Iterator[Save]:
    """``torch.distributed.checkpoint.save``, in the way."""
    dcp = importlib.import_module("torch.distributed.checkpoint")

    def save(number: int) -> Handle:
        dcp.save(training.state(), checkpoint_id=str(folder / str(number)), no_dist=True)
        return _at_once

    yield save


@contextmanager
def dcp_async_thread(folder: Path, training: Any) -> Iterator[Save]:
    """``async_save`` with its thread."""
    yield _dcp_async(folder, training, "THREAD")


@contextmanager
def dcp_async_process(folder: Path, training: Any) -> Iterator[Save]:
    """``async_save`` with its process; it wants a process group."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=0, world_size=1)
    yield _dcp_async(folder, training, "PROCESS")
    dist.destroy_process_group()


def _dcp_async(folder: Path, training: Any, kind: str) -> Save:
    dcp = importlib.import_module("torch.distributed.checkpoint")
    saver = importlib.import_module("torch.distributed.checkpoint.state_dict_saver")
    mode = getattr(saver.AsyncCheckpointerType, kind)

    def save(number: int) -> Handle:
        future = dcp.async_save(
            training.state(),
            checkpoint_id=str(folder / str(number)),
            async_checkpointer_type=mode,
            no_dist=kind == "THREAD",
        )

        def durable() -> bool:
            if future.done():
                future.result()
                return True
            return False

        return durable

    return save


@contextmanager
def torchsnapshot_async(folder: Path, training: Any) -> Iterator[Save]:
    """``Snapshot.async_take``."""
    library = importlib.import_module("torchsnapshot")

    def save(number: int) -> Handle:
        pending = library.Snapshot.async_take(str(folder / str(number)), training.objects())

        def durable() -> bool:
            if pending.done():
                pending.wait()
                return True
            return False

        return durable

    yield save
