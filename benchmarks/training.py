"""The training programs that the benchmarks record and replay, and questions about them.

They know nothing of flor. Each has one thread: replay keeps the recorded number, and two workers
are to have a core each. A comment ``# ask(NAME): STATEMENT`` marks a question to be added later.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).parent / "programs"
_ASK = re.compile(r"# ask\((\w+)\): ")


@dataclass(frozen=True)
class Program:
    """``args``: of a run of at least 20 s; ``few``: of a quick one. Last is how many iterations."""

    name: str
    args: tuple[str, ...]
    few: tuple[str, ...]
    loop: str = "epoch"

    def text(self, asked: str = "") -> str:
        """Return the program, with the question of that name in it."""
        text = (PROGRAMS / f"{self.name}.py").read_text()
        return _ASK.sub(lambda match: "" if match[1] == asked else match[0], text)

    def write(self, folder: Path, asked: str = "") -> str:
        """Put it into a folder; return the script's name."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.py").write_text(self.text(asked))
        return f"{self.name}.py"


TRAINING = (
    Program("byte_transformer", ("--epochs", "20"), ("--steps", "10", "--epochs", "3")),
    Program("digits_convnet", ("--epochs", "170"), ("--epochs", "3")),
    Program("numpy_network", ("2800",), ("40",)),
    Program("large_table", ("--epochs", "300"), ("--rows", "40000", "--epochs", "10")),
    Program("cart_pole", ("230",), ("30",), "episode"),
)
SMALL_LOOPS = Program("small_loops", ("560000", "700", "1500000"), ("100000",))


def python(*words: str) -> list[str]:
    return [sys.executable, *words]


def flor(*words: str) -> list[str]:
    return python("-m", "flor", *words)
