"""Whole trainings, recorded by flor, by others and by nobody."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from flor.bench.apart import command_cost
from flor.bench.harness import Experiment, Figure, Figures
from flor.bench.peers import Peer
from flor.bench.suites import Plan

QUESTION = "What does recording add to a whole training, its start and its end included?"
UNFAIR = """
All are processes of their own; the start of Python and the import of torch are inside, which makes
every ratio look smaller than that of the loop alone: run it longer (`--rounds`, or your own
program) for that. flor keeps what a replay needs: checkpoints with random states, as many as its
overhead bound allows, fingerprints, the source. "TensorBoard + torch.save" and "W&B + torch.save"
log the same numbers and save the state dicts at the end of each epoch, which is more checkpoints
than flor makes where they are expensive, and keeps the last one only. PyTorch has one thread, so a
second core is there for what runs in the background.
"""
PROGRAMS = Path(__file__).parents[1] / "programs"
# Program: what it is, epochs of a quick and of a full run.
LOOPS = {
    "tiny_steps": ("Tiny steps, a number logged at each", 1, 60),
    "transformer": ("A small transformer with AdamW", 1, 12),
    "huge_state": ("Much state, tiny steps", 1, 12),
}
NOTHING = "nothing"


def whole(folder: Path, program: str, epochs: int, by: str) -> Figures:
    """Run a training program; return wall and processor time of its process and its children."""
    script = str(PROGRAMS / f"{program}.py")
    if by == "flor":
        command = ["-m", "flor", "record", "--set", f"epochs={epochs}", script]
    else:
        command = [str(PROGRAMS / "recorded_by.py"), by, script, str(epochs)]
    return command_cost([sys.executable, *command], folder)


def experiments(plan: Plan) -> Iterator[Experiment]:
    """Yield one for each program."""
    for program, (title, quick, full) in LOOPS.items():
        if not plan.wants(title) or (plan.quick and not plan.only and program != "tiny_steps"):
            continue
        yield plan.experiment(
            title,
            f"programs/{program}.py.",
            [Figure("wall", "s"), Figure("cpu", "s of processor time")],
            [
                Peer(NOTHING, whole, "torch", given={"by": NOTHING}),
                Peer("flor", whole, "torch", given={"by": "flor"}, ours=True),
                Peer("TensorBoard + torch.save", whole, "tensorboard", given={"by": "tensorboard"}),
                Peer("W&B offline + torch.save", whole, "wandb", given={"by": "wandb"}),
            ],
            (1, 5),
            base=NOTHING,
            program=program,
            epochs=quick if plan.quick else full,
        )
