"""What is measured, and in which order: experiments, subjects, interleaved rounds.

Each round runs every subject once, in turn and in a rotating order, so that a slow minute of a
shared machine hits all alike; trust the ratios, not the absolute times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from flor.errors import FlorError

Figures = Mapping[str, float]


class BenchError(FlorError, RuntimeError):
    """A benchmark could not be run; a peer that fails is left out instead, by name."""


@dataclass(frozen=True)
class Subject:
    """Something measured: ``run`` does it once and returns named figures.

    ``ours``: it is flor's; its failure ends the benchmark, and ``--compare`` looks at it.
    """

    name: str
    run: Callable[[], Figures]
    ours: bool = False


@dataclass(frozen=True)
class Figure:
    """A named quantity that subjects return. ``lower``: less is better."""

    name: str
    unit: str
    lower: bool = True


@dataclass
class Experiment:
    """Subjects that answer one question, and how often they are run.

    ``base`` is the subject that the ratios are to. ``skipped`` has a line for each peer that is not
    there; ``title`` is unique in its suite.
    """

    title: str
    question: str
    figures: list[Figure]
    subjects: list[Subject]
    rounds: int
    base: str
    skipped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


Samples = dict[str, list[dict[str, float]]]


def interleave(
    subjects: Sequence[Subject], rounds: int, told: Callable[[str], None] = lambda text: None
) -> Samples:
    """Run every subject ``rounds`` times, in turn, each round beginning with another one.

    ``told(text)`` hears what runs. A failure of any subject ends it.
    """
    samples: Samples = {subject.name: [] for subject in subjects}
    for number in range(rounds):
        start = number % len(subjects)
        for subject in [*subjects[start:], *subjects[:start]]:
            told(f"round {number + 1} of {rounds}: {subject.name}")
            samples[subject.name].append(dict(subject.run()))
    return samples


def measure(
    experiment: Experiment, told: Callable[[str], None] = lambda text: None
) -> tuple[Samples, list[str]]:
    """Interleave the subjects of an experiment; return their samples, and what failed.

    A peer that fails is left out from then on and named; flor and the base may not fail.
    """
    failed: dict[str, str] = {}

    def guarded(subject: Subject) -> Subject:
        if subject.ours or subject.name == experiment.base:
            return subject

        def run() -> Figures:
            if subject.name in failed:
                return {}
            try:
                return subject.run()
            except BenchError as error:
                failed[subject.name] = f"{subject.name}: failed: {error}"
                return {}

        return Subject(subject.name, run)

    subjects = [guarded(subject) for subject in experiment.subjects]
    samples = interleave(subjects, experiment.rounds, told)
    return {n: rows for n, rows in samples.items() if n not in failed}, list(failed.values())
