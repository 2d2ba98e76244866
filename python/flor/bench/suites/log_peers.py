"""Other ways to keep a number, as their manuals say to use them."""

from __future__ import annotations

import importlib
import logging
import logging.handlers
import queue
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flor.bench.harness import BenchError

Call = Callable[[str, float], Any]


@dataclass(frozen=True)
class LogPeer:
    """How to open a log, what it needs, and by what factor it is called less often."""

    name: str
    open_log: Callable[[Path], AbstractContextManager[Call]]
    slower: int
    module: str = ""
    package: str = ""


def _check(folder: Path) -> None:
    if not (folder / "log.txt").stat().st_size:
        raise BenchError("it wrote nothing")


@contextmanager
def logging_file(folder: Path) -> Iterator[Call]:
    """A line to a file."""
    handler = logging.FileHandler(folder / "log.txt")
    logger = logging.Logger("bench")
    logger.addHandler(handler)
    yield lambda name, value: logger.info("%s %r", name, value)
    handler.close()
    _check(folder)


@contextmanager
def logging_queue(folder: Path) -> Iterator[Call]:
    """A line through a queue to a thread that writes it."""
    handler = logging.FileHandler(folder / "log.txt")
    lines: queue.SimpleQueue[Any] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(lines, handler)
    logger = logging.Logger("bench")
    logger.addHandler(logging.handlers.QueueHandler(lines))
    listener.start()
    yield lambda name, value: logger.info("%s %r", name, value)
    listener.stop()
    handler.close()
    _check(folder)


@contextmanager
def picologging_file(folder: Path) -> Iterator[Call]:
    """picologging: a line to a file."""
    picologging = importlib.import_module("picologging")
    handler = picologging.FileHandler(str(folder / "log.txt"))
    logger = picologging.Logger("bench", picologging.INFO)
    logger.addHandler(handler)
    yield lambda name, value: logger.info("%s %r", name, value)
    handler.close()
    _check(folder)


@contextmanager
def loguru_queue(folder: Path) -> Iterator[Call]:
    """Loguru with ``enqueue=True``."""
    logger = importlib.import_module("loguru").logger
    logger.remove()
    logger.add(folder / "log.txt", enqueue=True)
    yield lambda name, value: logger.info("{} {!r}", name, value)  # noqa: PLE1205
    logger.complete()
    logger.remove()
    _check(folder)


@contextmanager
def tensorboard(folder: Path) -> Iterator[Call]:
    """TensorBoard's ``add_scalar``."""
    writer = importlib.import_module("torch.utils.tensorboard").SummaryWriter(str(folder))
    yield writer.add_scalar
    writer.close()


@contextmanager
def wandb_offline(folder: Path) -> Iterator[Call]:
    """W&B in offline mode, a ``run.log`` a number."""
    wandb = importlib.import_module("wandb")
    settings = wandb.Settings(silent=True, console="off")
    run = wandb.init(mode="offline", dir=str(folder), project="bench", settings=settings)
    yield lambda name, value: run.log({name: value})
    run.finish()


@contextmanager
def mlflow_sqlite(folder: Path) -> Iterator[Call]:
    """MLflow's ``log_metric`` into its default store."""
    mlflow = importlib.import_module("mlflow")
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    with mlflow.start_run():
        yield mlflow.log_metric


@contextmanager
def flordb(folder: Path) -> Iterator[Call]:
    """FlorDB's ``log`` in a repository of its own, as it wants one."""
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "begin"]):
        author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
        subprocess.run(["git", *author, *words], cwd=folder, check=True)
    module = importlib.import_module("flordb")
    yield module.log
    module.commit()


PEERS = [
    LogPeer("logging", logging_file, 10),
    LogPeer("logging, queue", logging_queue, 20),
    LogPeer("picologging", picologging_file, 10, "picologging"),
    LogPeer("loguru, enqueue", loguru_queue, 50, "loguru"),
    LogPeer("TensorBoard", tensorboard, 50, "tensorboard"),
    LogPeer("FlorDB", flordb, 50, "flordb"),
    LogPeer("W&B offline", wandb_offline, 200, "wandb"),
    LogPeer("MLflow", mlflow_sqlite, 2000, "mlflow", "mlflow-skinny"),
]
