"""What a run of the benchmarks found: kept as JSON, with every sample."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flor.bench.harness import BenchError, Experiment, Figure, Samples

FORMAT = 1


@dataclass
class Outcome:
    """One experiment, measured; ``samples[subject][round][figure]``."""

    title: str
    question: str
    figures: list[Figure]
    base: str
    ours: list[str]
    samples: Samples
    skipped: list[str]
    notes: list[str]

    @classmethod
    def of(cls, experiment: Experiment, samples: Samples, failed: list[str]) -> Outcome:
        """Return the outcome of an experiment."""
        return cls(
            title=experiment.title,
            question=experiment.question,
            figures=experiment.figures,
            base=experiment.base,
            ours=[one.name for one in experiment.subjects if one.ours],
            samples=samples,
            skipped=[*experiment.skipped, *failed],
            notes=experiment.notes,
        )


@dataclass
class SuiteOutcome:
    """A suite's experiments and what it says about itself."""

    name: str
    question: str
    unfair: str
    experiments: list[Outcome]


@dataclass
class Results:
    """Everything that one run found, and on what."""

    machine: dict[str, Any]
    versions: dict[str, str]
    quick: bool
    suites: list[SuiteOutcome] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> Results:
        """Read what :meth:`write` wrote. Raises BenchError for anything else."""
        try:
            data = json.loads(path.read_text())
            if data.pop("format") != FORMAT:
                raise BenchError(f"{path}: written by another version of flor.bench; run it again")
            suites = [_suite(one) for one in data.pop("suites")]
            return cls(suites=suites, **data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BenchError(
                f"{path}: not the results of python -m flor.bench: {error!r}"
            ) from error


def _suite(data: dict[str, Any]) -> SuiteOutcome:
    experiments = [
        Outcome(**{**one, "figures": [Figure(**figure) for figure in one["figures"]]})
        for one in data.pop("experiments")
    ]
    return SuiteOutcome(experiments=experiments, **data)
