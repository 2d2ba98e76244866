"""What is asked afterwards: statements to insert into each workload, as data.

A probe neither draws random numbers nor changes state, so the modified script run from the start is the oracle of what
replay must answer. The marked ones (`outcome` other than "verified") break that rule on purpose.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent, indent

HINDSIGHT = (
    "hindsight/"  # what the names of all probes start with; apply() adds the probe's own name
)
FOLDER = Path(__file__).parent
DIGITS = FOLDER.parents[1] / "python" / "flor" / "examples" / "digits.py"


@dataclass(frozen=True)
class Probe:
    """Lines inserted after (or before) the one line whose stripped text is `anchor`, or `anchor` replaced by them."""

    name: str
    kind: str  # inner | outer | after | function | change
    anchor: str
    code: str
    where: str = "after"  # after | before | instead
    outcome: str = "verified"  # verified | disturbs | raises | changed

    def apply(self, source: str) -> str:
        lines = source.splitlines(keepends=True)
        found = [row for row, line in enumerate(lines) if line.strip() == self.anchor]
        if len(found) != 1:
            raise ValueError(
                f"probe {self.name}: {len(found)} lines read {self.anchor!r}, expected 1"
            )
        row = found[0]
        margin = lines[row][: len(lines[row]) - len(lines[row].lstrip())]
        if self.where == "after" and self.anchor.endswith(":"):
            margin += "    "
        code = dedent(self.code).strip("\n").replace(HINDSIGHT, f"{HINDSIGHT}{self.name}/")
        added = indent(code + "\n", margin)
        first, last = {
            "after": (row + 1, row + 1),
            "before": (row, row),
            "instead": (row, row + 1),
        }[self.where]
        modified = "".join([*lines[:first], added, *lines[last:]])
        ast.parse(modified)
        return modified


@dataclass(frozen=True)
class Workload:
    """A training program, the arguments that shorten it for the tests, and what is asked about it."""

    name: str
    probes: tuple[Probe, ...]
    set: dict[str, object] = field(default_factory=dict)
    argv: tuple[str, ...] = ()
    file: Path | None = None
    outer: str = "epoch"
    deterministic: bool = True

    @property
    def path(self) -> Path:
        return self.file or FOLDER / f"{self.name}.py"

    def source(self) -> str:
        return self.path.read_text()

    def probe(self, name: str) -> Probe:
        return next(probe for probe in self.probes if probe.name == name)

    def exact_probes(self) -> list[Probe]:
        """Return the probes that ask and touch nothing."""
        return [probe for probe in self.probes if probe.outcome == "verified"]

    def modified(self, *probes: Probe) -> str:
        source = self.source()
        for probe in probes:
            source = probe.apply(source)
        return source


GRAD_NORM = """
    for name, parameter in net.named_parameters():
        flor.log(f"hindsight/grad/{name}", parameter.grad.norm().item())
"""
WEIGHT_NORMS = """
    flor.log("hindsight/norms", {name: value.norm().item() for name, value in net.named_parameters()})
"""
MOMENTS = """
    flor.log("hindsight/moments", [
        state["exp_avg_sq"].sum().item() for state in optimizer.state.values()])
"""

WORKLOADS = [
    Workload(
        "digits_cnn",
        file=DIGITS,
        set={"epochs": 4, "width": 8, "shifts": 0},
        probes=(
            Probe("grad", "inner", "loss.backward()", GRAD_NORM),
            Probe(
                "confusion",
                "outer",
                "guesses = predict(net, test_x)",
                """
                confusion = torch.zeros(CLASSES, CLASSES, dtype=torch.int64)
                for wanted, guess in zip(test_y.tolist(), guesses.tolist()):
                    confusion[wanted, guess] += 1
                flor.log("hindsight/confusion", confusion)
                """,
            ),
            Probe(
                "eval-logits",
                "function",
                "guesses = net(images).argmax(dim=1)",
                'flor.log("hindsight/logit", net(images[:2]))',
            ),
            Probe(
                "disturbing",
                "inner",
                "loss.backward()",
                'flor.log("hindsight/second", net[0].weight.data.mul_(1.01).norm().item())',
                outcome="disturbs",
            ),
            Probe(
                "raising",
                "inner",
                "loss.backward()",
                'flor.log("hindsight/wrong", net[99].weight.sum().item())',
                outcome="raises",
            ),
            Probe(
                "changed-constant",
                "change",
                'optimizer = torch.optim.SGD(net.parameters(), lr=flor.arg("lr", 0.05), momentum=0.9)',
                'optimizer = torch.optim.SGD(net.parameters(), lr=flor.arg("lr", 0.05), momentum=0.8)',
                where="instead",
                outcome="changed",
            ),
        ),
    ),
    Workload(
        "mlp_adam_schedule",
        probes=(
            Probe("grad", "inner", "loss.backward()", GRAD_NORM),
            Probe("moments", "inner", "optimizer.step()", MOMENTS),
            Probe("norms", "outer", "scheduler.step()", WEIGHT_NORMS),
            Probe("before-step", "outer", "total = 0.0", WEIGHT_NORMS, where="before"),
            Probe(
                "after",
                "after",
                'print(f"final loss {history[-1]:.6f}, best {min(history):.6f}")',
                'flor.log("hindsight/history", history)',
            ),
        ),
    ),
    Workload(
        "gan",
        probes=(
            Probe(
                "critic-grad",
                "inner",
                "d_loss.backward()",
                'flor.log("hindsight/critic_grad", [p.grad.norm().item() for p in critic.parameters()])',
            ),
            Probe(
                "fake",
                "inner",
                "fake = generator(torch.randn(batch, noise_width))",
                'flor.log("hindsight/fake", fake)',
            ),
            Probe(
                "sample",
                "outer",
                "sample = generator(torch.randn(256, noise_width))",
                'flor.log("hindsight/sample", sample)',
            ),
        ),
    ),
    Workload(
        "bytelm",
        outer="step",
        probes=(
            Probe(
                "micro",
                "inner",
                "(loss / accumulate).backward()",
                'flor.log("hindsight/embed_grad", model.embed.weight.grad.abs().sum().item())',
            ),
            Probe(
                "position",
                "outer",
                "warmup.step()",
                'flor.log("hindsight/position", model.position.detach().norm(dim=1))',
            ),
            Probe(
                "tokens", "inner", "logits = model(tokens)", 'flor.log("hindsight/tokens", tokens)'
            ),
            Probe(
                "windows",
                "function",
                "starts = torch.randint(0, len(text) - length - 1, (batch,)).tolist()",
                'flor.log("hindsight/starts", starts)',
            ),
        ),
    ),
    Workload(
        "steps_iterator",
        outer="step",
        probes=(
            Probe(
                "start",
                "inner",
                "loss.backward()",
                'flor.log("hindsight/start", [start, head.bias.grad.norm().item()])',
            ),
            Probe(
                "hidden",
                "outer",
                "hidden = hidden.detach()",
                'flor.log("hindsight/hidden", hidden)',
            ),
        ),
    ),
    Workload(
        "rl_loop",
        outer="episode",
        probes=(
            Probe(
                "place",
                "inner",
                "collected += reward",
                'flor.log("hindsight/place", {"place": env.place, "action": action, "memory": len(agent.memory)})',
            ),
            Probe(
                "q",
                "inner",
                "loss = agent.learn()",
                """
                with torch.no_grad():
                    flor.log("hindsight/q", agent.net(torch.from_numpy(observation)))
            """,
            ),
            Probe(
                "visits",
                "outer",
                "returns.append(collected)",
                'flor.log("hindsight/visits", env.visits)',
            ),
            Probe(
                "wanted",
                "function",
                "loss = F.smooth_l1_loss(value, wanted)",
                'flor.log("hindsight/wanted", wanted)',
            ),
        ),
    ),
    Workload(
        "early_stop_best",
        probes=(
            Probe(
                "lr",
                "inner",
                "loss.backward()",
                """
                flor.log("hindsight/lr", [group["lr"] for group in groups])
                flor.log("hindsight/running_mean", net[1].running_mean.tolist())
            """,
            ),
            Probe(
                "ema",
                "outer",
                "waited += 1",
                """
                flor.log("hindsight/gap", sum(
                    (slow - fast).norm().item() for slow, fast in zip(ema.parameters(), net.parameters())))
                flor.log("hindsight/best_norm", best_state["0.weight"].norm().item())
            """,
            ),
            Probe(
                "after",
                "after",
                "net.load_state_dict(best_state)",
                'flor.log("hindsight/kept", best_state["3.bias"])',
            ),
        ),
    ),
    Workload(
        "best_in_file",
        probes=(
            Probe("grad", "inner", "loss.backward()", GRAD_NORM),
            Probe(
                "best",
                "outer",
                'flor.log("valid_loss", valid_loss)',
                """
                flor.log("hindsight/best_so_far", best)
                flor.log("hindsight/weights", net[0].weight.detach().clone())
            """,
            ),
            Probe(
                "in-file",
                "outer",
                'flor.log("rewound", epoch)',
                'flor.log("hindsight/in_file", torch.load("best.pt")["2.bias"])',
            ),
        ),
    ),
    Workload(
        "best_alias_bug",
        probes=(
            Probe(
                "drift",
                "inner",
                "loss.backward()",
                """
                if best is not None:
                    flor.log("hindsight/drift", (best["0.weight"] - net[0].weight.detach()).abs().sum().item())
                    flor.log("hindsight/best", best["2.bias"].item())
            """,
            ),
            Probe(
                "norms", "outer", "best_loss = total", 'flor.log("hindsight/total", [epoch, total])'
            ),
            Probe(
                "best-norm",
                "outer",
                'flor.log("drift", drift)',
                'flor.log("hindsight/best_norm", best["0.weight"].norm().item())',
            ),
        ),
    ),
    Workload(
        "functions",
        argv=("--epochs", "6", "--lr", "0.02"),
        probes=(
            Probe(
                "seen",
                "inner",
                "self.seen += len(rows)",
                """
                flor.log("hindsight/seen", [self.seen, total])
                flor.log("hindsight/bias", self.net[3].bias.detach())
            """,
            ),
            Probe(
                "valid",
                "inner",
                "losses.append(self.loss_of(rows).item())",
                'flor.log("hindsight/each", losses[-1])',
            ),
            Probe(
                "history",
                "outer",
                'flor.log("seen", self.seen)',
                'flor.log("hindsight/history", self.history)',
            ),
            Probe(
                "loss-of",
                "function",
                "def loss_of(self, rows):",
                'flor.log("hindsight/rows", [len(rows), self.net.training])',
            ),
        ),
    ),
    Workload(
        "numpy_only",
        probes=(
            Probe(
                "gradient",
                "inner",
                "velocity *= 0.9",
                'flor.log("hindsight/gradient", gradient)',
                where="before",
            ),
            Probe(
                "weights",
                "outer",
                "rate *= 0.9",
                """
                flor.log("hindsight/weights", weights)
                flor.log("hindsight/rate", [rate, bias])
            """,
            ),
            Probe(
                "after",
                "after",
                'flor.log("weights", weights)',
                'flor.log("hindsight/accuracies", accuracies)',
            ),
        ),
    ),
    Workload(
        "sklearn_partial_fit",
        probes=(
            Probe(
                "coef",
                "inner",
                'flor.log("norm", float(np.linalg.norm(model.coef_)))',
                'flor.log("hindsight/intercept", model.intercept_)',
            ),
            Probe(
                "classes",
                "outer",
                'flor.log("accuracy", model.score(inputs[valid], labels[valid]))',
                'flor.log("hindsight/coef", [model.t_, float(np.abs(model.coef_).sum())])',
            ),
        ),
    ),
    Workload(
        "unseeded",
        deterministic=False,
        probes=(
            Probe("grad", "inner", "loss.backward()", GRAD_NORM),
            Probe("norms", "outer", 'flor.log("flip", flip)', WEIGHT_NORMS),
        ),
    ),
    Workload(
        "wrapped_loops",
        probes=(
            Probe("grad", "inner", "loss.backward()", GRAD_NORM),
            Probe(
                "number", "inner", "skipped += 1", 'flor.log("hindsight/skipped", [epoch, number])'
            ),
            Probe(
                "else",
                "outer",
                "finished.append(epoch)",
                'flor.log("hindsight/finished", finished)',
            ),
            Probe("parts", "outer", 'flor.log("parts", means)', WEIGHT_NORMS),
        ),
    ),
    Workload(
        "clocked",
        probes=(
            Probe("grad", "inner", "loss.backward()", GRAD_NORM),
            Probe(
                "count",
                "outer",
                "durations.append(took)",
                'flor.log("hindsight/count", [len(durations), took > 0])',
            ),
        ),
    ),
    Workload(
        "dataloader_workers",
        probes=(
            Probe("points", "inner", "loss.backward()", 'flor.log("hindsight/points", points)'),
            Probe(
                "norms",
                "outer",
                'flor.log("first_weight", net[0].weight[0].tolist())',
                WEIGHT_NORMS,
            ),
        ),
    ),
    Workload(
        "lbfgs_closure",
        probes=(
            Probe("closure", "function", "loss.backward()", GRAD_NORM),
            Probe(
                "step",
                "inner",
                'flor.log("loss", optimizer.step(closure).item())',
                'flor.log("hindsight/calls", calls)',
            ),
            Probe("norms", "outer", 'flor.log("calls", calls)', WEIGHT_NORMS),
        ),
    ),
    Workload(
        "noflor_ckpt",
        probes=(
            Probe("grad", "inner", "loss.backward()", GRAD_NORM),
            Probe("norms", "outer", 'flor.log("epoch_loss", loss.item())', WEIGHT_NORMS),
        ),
    ),
    Workload(
        "mlp_50",
        probes=(
            Probe("grad", "inner", "loss.backward()", GRAD_NORM),
            Probe("norms", "outer", 'flor.log("epoch_loss", loss.item())', WEIGHT_NORMS),
        ),
    ),
]

BY_NAME = {workload.name: workload for workload in WORKLOADS}
