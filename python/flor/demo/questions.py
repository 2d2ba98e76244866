"""What the demo asks afterwards: statements that the recorded script did not have."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

SCRIPT = "digits.py"


@dataclass(frozen=True)
class Question:
    """A statement added after the line that reads ``anchor``."""

    title: str
    anchor: str
    statement: str

    def ask(self, source: str) -> str:
        """Return ``source`` with the statement in it."""
        lines = source.splitlines(keepends=True)
        row = next(row for row, line in enumerate(lines) if line.strip() == self.anchor)
        margin = lines[row][: len(lines[row]) - len(lines[row].lstrip())]
        added = indent(dedent(self.statement).strip("\n") + "\n", margin)
        return "".join([*lines[: row + 1], added, *lines[row + 1 :]])


INNER = Question(
    "What was the gradient norm of each layer, step by step?",
    "loss.backward()",
    """
    for name, weight in net.named_parameters():
        if weight.dim() > 1:
            flor.log(f"gradient {name}", weight.grad.norm().item())
    """,
)
OUTER = Question(
    "Which digits were taken for which, epoch by epoch?",
    "guesses = predict(net, test_x)",
    """
    pairs = CLASSES * test_y + guesses
    flor.log("confusion", torch.bincount(pairs, minlength=CLASSES**2).view(CLASSES, CLASSES))
    """,
)
GRADIENTS = tuple(f"gradient {layer}.weight" for layer in ("conv1", "conv2", "hidden", "output"))
CONFUSION = "confusion"


def original() -> str:
    """Return the training program as it is recorded."""
    return (Path(__file__).parents[1] / "examples" / SCRIPT).read_text()


def diff(before: str, after: str) -> str:
    """Return the change as a unified diff."""
    lines = difflib.unified_diff(
        before.splitlines(),
        after.splitlines(),
        f"{SCRIPT} (recorded)",
        f"{SCRIPT} (today)",
        "",
        "",
        2,
        "",
    )
    return "\n".join(lines)
