"""Training loops that a library owns: recorded in context, replayed exactly.

Each program in ``tests/libraries`` is recorded unmodified. The oracle is the modified program run
whole under recording. ``scripts/check libraries`` installs what is needed and runs this
(FLOR_LIBRARIES=1); a library that is not installed is skipped.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from oracle import answers, checksums, differences, expect, flor, logs

PROGRAMS = Path(__file__).parents[1] / "libraries"
HINDSIGHT = "hindsight/"

pytestmark = pytest.mark.skipif(
    not os.environ.get("FLOR_LIBRARIES"), reason="scripts/check libraries runs it"
)


@dataclass(frozen=True)
class Case:
    """A program; ``inner`` and ``outer``: (line, what is added after it); what is expected then.

    ``observer``: a definition, added after the first empty line, and (text, what it becomes) where
    it is handed to the library.
    """

    program: str
    package: str
    inner: tuple[str, str]
    outer: tuple[str, str]
    contexts: list[list[str]]  # of what the callbacks log, by the names of the loops
    records: int  # of the inner probe
    observer: tuple[str, str, str]
    states: int = 4  # compared at least: the entry, and each of 3 epochs

    def modified(self) -> str:
        source = (PROGRAMS / f"{self.program}.py").read_text()
        for line, probe in (self.inner, self.outer):
            assert source.count(line + "\n") == 1
            at = source.index(line + "\n")
            margin = " " * (at - source.rindex("\n", 0, at) - 1)
            added = "".join(f"{margin}{each}\n" for each in ["import flor", probe])
            source = source.replace(line + "\n", f"{line}\n{added}")
        definition, text, handed = self.observer
        assert source.count(text) == 1
        source = source.replace(text, handed)
        head, _, rest = source.partition("\n\n\n")
        return f"{head}\n\n\nimport flor\n\n{definition}\n\n\n{rest}"


CASES = [
    Case(
        "skorch_net",
        "skorch",
        (
            "self.last = size",
            'flor.log("hindsight/norm", net.module_[0].weight.norm().item())',
        ),
        (
            "net.fit(features, labels)",
            'flor.log("hindsight/bias", net.module_[0].bias.tolist())',
        ),
        [["epoch", "batch"], ["epoch", "valid_batch"], ["epoch"], []],
        21,
        (
            """class Mine(Callback):
    def on_epoch_end(self, net, **kwargs):
        flor.log("hindsight/mine", net.history[-1, "valid_loss"])""",
            "[Watcher()]",
            "[Watcher(), Mine()]",
        ),
    ),
    Case(
        "ignite_engine",
        "ignite",
        (
            "optimizer.step()",
            'flor.log("hindsight/grad", model[0].weight.grad.abs().sum().item())',
        ),
        ("evaluator.run(batches)", 'flor.log("hindsight/bias", model[0].bias.tolist())'),
        [["epoch", "iteration"], ["epoch"]],
        12,
        ("def mine():\n    pass", "max_epochs=3", "max_epochs=3"),
    ),
    Case(
        "transformers_trainer",
        "transformers",
        (
            "self.steps = state.global_step",
            'flor.log("hindsight/norm", model.layers[0].weight.norm().item())',
        ),
        (
            "result = trainer.train()",
            'flor.log("hindsight/bias", model.layers[0].bias.tolist())',
        ),
        [["epoch", "step"], []],
        12,
        (
            """class Mine(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        flor.log("hindsight/mine", state.global_step)""",
            "callbacks=[Told()]",
            "callbacks=[Mine(), Told()]",
        ),
    ),
    Case(
        "lightning_fit",
        "lightning",
        (
            'self.last = outputs["loss"].item()',
            'flor.log("hindsight/norm", module.layers[0].weight.norm().item())',
        ),
        (
            'self.log("valid_loss", loss)',
            'flor.log("hindsight/valid", loss.item())',
        ),
        [
            ["epoch", "batch"],
            ["epoch", "batch", "val_batch"],
            ["epoch", "val_batch"],
            ["epoch"],
            ["val_batch"],
        ],
        18,
        (
            """class Mine(L.Callback):
    def on_train_epoch_end(self, trainer, module):
        flor.log("hindsight/mine", trainer.global_step)""",
            "[Told()]",
            "[Told(), Mine()]",
        ),
    ),
    Case(
        "keras_fit",
        "keras",
        (
            'self.loss = logs["loss"]',
            'flor.log("hindsight/kernel", float(self.model.layers[0].kernel.value.sum()))',
        ),
        (
            'print("epoch", epoch, "loss", logs["loss"], logs["val_loss"])',
            'flor.log("hindsight/bias", float(self.model.layers[0].bias.value.sum()))',
        ),
        [["epoch", "batch"], ["epoch"]],
        12,
        (
            """class Mine(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        flor.log("hindsight/mine", logs["val_loss"])""",
            "[Told()]",
            "[Told(), Mine()]",
        ),
    ),
    Case(
        "accelerate_loop",
        "accelerate",
        (
            "accelerator.backward(loss)",
            'flor.log("hindsight/loss", loss.item())',
        ),
        (
            'print("epoch", epoch, "loss", total)',
            'flor.log("hindsight/norm", model[0].weight.norm().item())',
        ),
        [["epoch", "inputs_targets"], ["epoch"]],
        18,
        (
            """def mine(module, inputs, output):
    flor.log("hindsight/mine", output.sum().item())""",
            "    for epoch in range(3):",
            "    model.register_forward_hook(mine)\n    for epoch in range(3):",
        ),
    ),
]


def recorded(folder: Path, name: str, source: str) -> Path:
    folder.mkdir()
    script = folder / f"{name}.py"
    script.write_text(source)
    expect(0, flor("record", "--overhead", "inf", script, cwd=folder, store=folder / ".flor"))
    return folder


def names_of(rows: list[dict]) -> list[list[str]]:
    """The distinct contexts of records, without their numbers, in the order of their first one."""
    found: list[list[str]] = []
    for row in rows:
        names = [name.partition("#")[0] for name, _ in row["context"]]
        if names not in found:
            found.append(names)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.program)
def test_replay_of_a_librarys_loop_equals_the_run_from_the_start(tmp_path: Path, case: Case):
    if importlib.util.find_spec(case.package) is None:
        pytest.skip(f"{case.package} is not installed: scripts/setup libraries")
    source = (PROGRAMS / f"{case.program}.py").read_text()
    run = recorded(tmp_path / "run", case.program, source)
    oracle = recorded(tmp_path / "oracle", case.program, case.modified())
    wanted = logs(oracle / ".flor", oracle)

    modified = run / "modified.py"
    modified.write_text(case.modified())
    shutil.rmtree(run / "__pycache__", ignore_errors=True)
    before = checksums(run), checksums(run, store=True)
    report = tmp_path / "report.json"
    done = flor(
        *("replay", "latest", "--script", modified, "--report", report),
        cwd=run,
        store=run / ".flor",
    )
    expect(0, done)

    told = json.loads(report.read_text())
    assert told["verdict"] == "verified" and not told["differences"]
    assert told["states_compared"] >= case.states
    new = [row for row in logs(run / ".flor", run) if row["origin"] == "replay"]
    assert not differences(answers(new, HINDSIGHT), answers(wanted, HINDSIGHT))
    inner = case.inner[1].split('"')[1]
    assert sum(row["name"] == inner for row in new) == case.records
    assert sorted(names_of(new)) == sorted(case.contexts)
    assert (checksums(run), checksums(run, store=True)) == before
