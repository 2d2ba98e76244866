"""Exactness without a line of flor in the program: answers are the oracle's, bit for bit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from shapeskit import PROGRAMS, Recorded, Shape, check, record, replay

FULL = bool(os.environ.get("FLOR_FULL"))
DENSE = ("--overhead", "inf")
QUICK = {
    "ambient",
    "cache_counts",
    "module_level",
    "while_true",
    "module_globals",
    "catches",
    "numbered_output",
    "resized",
    "same_name",
}

SHAPES = [
    Shape("module_level"),
    Shape("main_args"),
    Shape("trainer_project"),
    Shape("while_true"),
    Shape("endless_steps", jumps=False),  # a suspended generator
    Shape("module_globals"),
    Shape("two_models"),
    Shape("lbfgs_closure"),
    Shape("amp_ema"),
    Shape("early_stop_file"),
    Shape("replay_buffer"),
    Shape("loader_workers"),
    Shape("prefetch_processes", jumps=False),  # a process and its queues
    Shape("nested_shapes"),
    Shape("numpy_pure"),
    Shape("sklearn_partial"),
    Shape("unseeded", seeded=False),
    Shape("resumes_itself", before=True),
    Shape("numbered_output", jumps=False),  # an open file
    Shape("exec_config"),
    Shape("unpicklable", jumps=False),  # sockets
    Shape("catches"),
    Shape("rebinding"),
    Shape("folds"),
    Shape("warns", falls_back=True),  # a warning that it caught knows its line
    Shape("same_name"),
    Shape("light_loops"),
    Shape("callback_list"),
    Shape("converges"),
    Shape("tangled_loop"),
    Shape("caches", jumps=False),  # the loop fills them
    Shape("cache_counts", jumps=False),
    Shape("module_hooks"),
    Shape("ambient"),
    Shape("resized"),
    Shape("c_state", jumps=False),  # compressors, hashers, readers of csv
]


def matrix() -> list:
    """One case a quick shape; FLOR_FULL=1: all, each question, 1 and 2 workers, dense and not."""
    cases = []
    for number, shape in enumerate(SHAPES):
        for rank, ask in enumerate(dict.fromkeys(shape.asks)):
            for workers in "12":
                for options in ((), DENSE):
                    chosen = (rank, workers, options) == (number % 2, str(1 + number % 2), DENSE)
                    if FULL or (shape.name in QUICK and chosen):
                        mode = "dense" if options else "adaptive"
                        name = f"{shape.name}-{ask}-{workers}w-{mode}"
                        cases.append(pytest.param(shape, ask, workers, options, id=name))
    return cases


def test_every_program_is_listed() -> None:
    found = {path.stem for path in PROGRAMS.iterdir() if path.name != "unchanged_project"}
    assert found == {shape.name for shape in SHAPES}


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory):
    made: dict[tuple[str, tuple[str, ...]], Recorded] = {}

    def get(shape: Shape, options: tuple[str, ...]) -> Recorded:
        key = (shape.name, options)
        if key not in made:
            made[key] = record(shape, tmp_path_factory.mktemp(shape.name), *options)
        return made[key]

    return get


@pytest.mark.parametrize(("shape", "ask", "workers", "options"), matrix())
def test_replay_answers_as_the_run_would_have(
    recorded, tmp_path: Path, shape, ask, workers, options
) -> None:
    recording = recorded(shape, options)
    result = replay(recording, tmp_path / "copy", "--workers", workers, asked=(ask,))
    check(recording, result, ask)
    assert result.report["fallback"] == "none" or shape.falls_back
    if not shape.jumps:
        assert any("no checkpoint can be restored" in note for note in result.report["notes"])


def test_a_question_after_the_loop_jumps_there(recorded, tmp_path: Path) -> None:
    shape = next(each for each in SHAPES if each.name == "module_level")
    recording = recorded(shape, DENSE)
    result = replay(recording, tmp_path / "copy", asked=("after",))
    check(recording, result, "after")
    assert result.report["executed"].get("epoch", 0) <= 1


OUTSIDE = [("module_level", "outer")] + [("trainer_project", "method")] * FULL


@pytest.mark.parametrize(("name", "ask"), OUTSIDE)
def test_a_question_outside_the_inner_loop_restores_its_ends(
    recorded, tmp_path: Path, name: str, ask: str
) -> None:
    recording = recorded(next(each for each in SHAPES if each.name == name), DENSE)
    result = replay(recording, tmp_path / "copy", asked=(ask,))
    check(recording, result, ask)
    actions = [block["action"] for block in result.report["blocks"]]
    assert actions.count("restored") > 0
