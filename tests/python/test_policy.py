"""The overhead bound and the disk budget: the policy's promises, by simulation and in a run."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
from types import SimpleNamespace

import pytest
from oracle import environment

import flor
from flor import _core
from flor.capture.checkpoint_file import CheckpointFile
from flor.errors import InvalidError
from flor.recording import policy as policy_module
from flor.recording.options import Options
from flor.recording.policy import Policy
from flor.recording.thinning import DEFAULT_DISK_BUDGET_BYTES, Thinning, disk_budget


class Clock:
    """Time that passes when told to."""

    def __init__(self, monkeypatch) -> None:
        self.now = 100.0
        fake = SimpleNamespace(perf_counter=lambda: self.now, process_time=lambda: self.now)
        monkeypatch.setattr(policy_module, "time", fake)


@pytest.fixture
def clock(monkeypatch) -> Clock:
    return Clock(monkeypatch)


def train(policy: Policy, clock: Clock, seed: int, iterations: int = 400) -> list[int]:
    """Run a made-up training; check both invariants at each decision; return what was taken."""
    chance = random.Random(seed)
    step = chance.choice([0.01, 0.1, 1.0])
    walk, stall = step * chance.uniform(0.001, 0.2), step * chance.uniform(0.01, 2)
    taken, worst = [], 0.0
    policy.enter(walk, 1 << 20)
    clock.now += walk
    for iteration in range(iterations):
        clock.now += step * chance.uniform(0.5, 1.5)
        if policy.wants_checkpoint():
            cost = stall * chance.uniform(0.5, 1.5)
            worst = max(worst, cost)
            clock.now += cost
            policy.checkpointed(cost)
            taken.append(iteration)
            assert policy.checkpoints * cost <= 4 * policy.compute  # M+R ≤ C·n/(k+1), M noisy
        elif policy.wants_fingerprint():
            clock.now += walk
            policy.fingerprinted(walk, 1 << 20)
        if taken:  # an estimate can be wrong by one checkpoint, not by more
            assert policy.checkpoint_seconds <= policy.epsilon * policy.compute + 2 * worst
    return taken


class Forgetful(Policy):
    """Decides anew each time, as if no refusal said until when the answer will be no."""

    def wants_checkpoint(self, last: bool = False) -> bool:
        self._no_checkpoint_until = 0.0
        return super().wants_checkpoint(last)

    def wants_fingerprint(self) -> bool:
        self._no_fingerprint_until = 0.0
        return super().wants_fingerprint()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("thrifty", [False, True])
def test_a_refusal_holds_as_long_as_it_is_true(clock, seed, thrifty):
    taken = []
    for kind in (Policy, Forgetful):
        policy = kind(credit=0.0, thrifty=thrifty, start_up=0.1)
        taken.append((train(policy, clock, seed=seed), policy.fingerprint_seconds))
    assert taken[0] == (taken[1][0], pytest.approx(taken[1][1])) and taken[0][0]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("epsilon", [1 / 15, 0.01, 0.3])
def test_what_recording_takes_stays_within_the_bound(clock, seed, epsilon):
    policy = Policy(epsilon=epsilon, credit=0.0)
    train(policy, clock, seed)
    entry = policy._walk  # the walk at the entry is always made: without it nothing can be verified
    worst = 2 * (policy._cost or 0)
    assert policy.spent <= epsilon * policy.compute + entry + worst
    share = 0.25 * epsilon * policy.compute + entry
    assert policy.fingerprint_seconds <= share + 1e-9


def test_a_larger_bound_takes_more_checkpoints(clock):
    counts = []
    for epsilon in (0.001, 0.01, 0.1):
        policy = Policy(epsilon=epsilon, credit=0.0)
        counts.append(len(train(policy, clock, seed=3)))
    assert counts[0] <= counts[1] <= counts[2] and counts[0] < counts[2]


def test_nothing_is_taken_with_a_bound_of_zero(clock):
    policy = Policy(epsilon=0.0, credit=10.0)
    assert train(policy, clock, seed=1) == []


def test_the_time_before_the_loop_pays_for_the_entry(clock):
    policy = Policy(epsilon=0.1, credit=10.0)
    policy.enter(0.01, 1 << 20)
    assert policy.wants_checkpoint()
    poor = Policy(epsilon=0.1, credit=0.0)
    poor.enter(0.01, 1 << 20)
    assert not poor.wants_checkpoint()


@pytest.mark.parametrize("start_up", [0.0, 0.1, 3.0])
def test_a_bound_that_nobody_named_is_not_used_up(clock, start_up):
    named, thrifty = Policy(credit=0.0), Policy(credit=0.0, thrifty=True, start_up=start_up)
    assert len(train(thrifty, clock, seed=5)) < len(train(named, clock, seed=5))
    aim = max(0.0, policy_module.AIM * thrifty.compute + policy_module._HEAD_START - start_up)
    worst = thrifty._walk + 2 * (thrifty._cost or 0)
    assert thrifty.spent <= aim + worst < named.spent
    assert thrifty.report()["aim"] == policy_module.AIM and named.report()["aim"] is None
    short = Policy(credit=1.0, thrifty=True)
    assert short.budget == pytest.approx(1 / 15)  # the bound is a bound


def test_the_last_state_needs_the_overhead_bound_only(clock):
    policy = Policy(epsilon=1.0, credit=1.0)
    policy.enter(0.1, 0)
    for _ in range(20):
        policy.checkpointed(0.01)
    assert not policy.wants_checkpoint() and policy.wants_checkpoint(last=True)
    policy.epsilon = 0.1
    assert not policy.wants_checkpoint(last=True)


def test_background_work_counts_only_beyond_the_idle_cores(clock, monkeypatch):
    monkeypatch.setattr(policy_module.os, "cpu_count", lambda: 4)
    policy = Policy(credit=1.0)
    policy.checkpointed(0.1)
    policy.finished(2.0, 1.0, 10)
    assert policy.slowdown_seconds == 0
    policy.finished(2.0, 4.0, 10)
    assert policy.slowdown_seconds == 2.0
    assert policy.stored_bytes == 20
    report = policy.report()
    assert report["fraction"] == pytest.approx(policy.spent / policy.compute)


# -- the disk budget -------------------------------------------------------------------------------


def run_thinning(
    budget: int, nbytes: int, iterations: int
) -> tuple[Thinning, dict[str, list[int]]]:
    thinning, kept, number = Thinning(budget), {"block": [], "iteration": []}, 0
    thinning.taken("entry", 0)
    assert thinning.stored("entry", 0, nbytes) == []
    for iteration in range(1, iterations + 1):
        for kind in kept:
            if not thinning.allows(kind, iteration):
                continue
            number += 1
            thinning.taken(kind, iteration)
            newest = (kind, number)
            kept[kind].append((number, iteration))
            gone = set(thinning.stored(kind, number, nbytes))
            assert 0 not in gone and newest[1] not in gone
            kept = {k: [c for c in held if c[0] not in gone] for k, held in kept.items()}
            assert thinning.held_bytes <= budget
    return thinning, kept


@pytest.mark.parametrize("iterations", [5, 50, 500, 5000])
def test_checkpoints_thin_evenly_within_the_budget(iterations):
    thinning, kept = run_thinning(budget=4000, nbytes=100, iterations=iterations)
    for held in kept.values():
        places = [iteration for _, iteration in held]
        assert len(places) >= min(iterations, 8)
        gaps = [b - a for a, b in zip(places, places[1:], strict=False)]
        assert max(gaps) <= 5 * max(1, iterations // len(places))
    assert (thinning.dropped > 0) == (iterations > 19)
    written = 100 * (thinning.dropped + 1 + sum(len(held) for held in kept.values()))
    assert written <= 4000 * (2 + iterations.bit_length() / 2)


def test_checkpoints_larger_than_the_budget_stop():
    thinning = Thinning(100)
    assert thinning.stored("entry", 0, 90) == []
    assert thinning.allows("iteration", 1)
    thinning.taken("iteration", 1)
    assert thinning.stored("iteration", 1, 90) == []
    assert thinning.full and not thinning.allows("iteration", 9)


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("", DEFAULT_DISK_BUDGET_BYTES), ("0", 0), ("500", 500), ("1.5k", 1536), ("20G", 20 << 30)]
    + [("3 M", 3 << 20), ("2GiB", 2 << 30), ("7MB", 7 << 20)],
)
def test_the_budget_is_read_from_the_environment(monkeypatch, text, nbytes):
    monkeypatch.setenv("FLOR_DISK_BUDGET", text)
    assert disk_budget() == nbytes
    assert disk_budget(12) == 12
    assert disk_budget(Options(disk_budget=5).disk_budget) == 5


@pytest.mark.parametrize("text", ["lots", "-1", "5X", "G", "nan"])
def test_a_budget_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv("FLOR_DISK_BUDGET", text)
    with pytest.raises(InvalidError, match="FLOR_DISK_BUDGET"):
        disk_budget()


def test_what_a_user_saved_by_hand_is_never_dropped(tmp_path, monkeypatch):
    import numpy as np

    monkeypatch.setenv("FLOR_DISK_BUDGET", "300K")
    weights = np.zeros(4000)
    with flor.Checkpointer(tmp_path / "s", {"w": [weights]}, overhead=1.0) as ck:
        ck.save().wait()
        for step in range(400):
            weights[:] = np.random.default_rng(step).random(4000)
            if ck.step():
                ck._pending.wait()
        steps = [entry["step"] for entry in ck.checkpoints()]
        assert steps[0] == 0
        assert len(steps) < 14
        assert ck.restore(at=0) == 0 and not weights.any()


SCRIPT = """
import flor, numpy as np
weights = np.zeros(20_000)
with flor.checkpointing(weights=weights, overhead=1.0):
    for epoch in flor.loop("epoch", range(60)):
        weights[:] = np.random.default_rng(epoch).random(20_000)
        for _ in range(40):
            weights.sort(); weights[:] = weights[::-1]
        flor.log("first", weights[0])
"""


def test_a_run_thins_its_checkpoints_and_replays(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    env = environment(tmp_path / ".flor", FLOR_DISK_BUDGET="1M")
    run = [sys.executable, "train.py"]
    subprocess.run(run, cwd=tmp_path, env=env, check=True)
    store = flor.open(tmp_path / ".flor")
    (overhead,) = store.runs().df()["run"].map(lambda r: store._layout.read_run(r)["overhead"])
    places = sorted(p.stem for p in tmp_path.glob(".flor/runs/*/checkpoints/*.ckpt"))
    assert overhead["disk_budget_bytes"] == 1 << 20
    assert overhead["checkpoints_dropped"] > 0
    assert "0" in places and len(places) <= 9  # 1 MiB holds six raw ones, a few more encoded
    assert len(places) == overhead["checkpoints"] - overhead["checkpoints_dropped"]
    probed = SCRIPT.replace(
        '"first", weights[0])', '"first", weights[0])\n        flor.log("sum", weights.sum())'
    )
    script.write_text(probed)
    done = subprocess.run(
        [sys.executable, "-m", "flor", "replay", "--only", "epoch=31"],
        cwd=tmp_path, env=env, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    table = store.logs("sum").df()
    assert table["epoch"].tolist() == [31]


BLOCKS = """
import flor, numpy as np
weights = np.zeros(2_000)
with flor.checkpointing(weights=weights, overhead=1.0):
    for epoch in flor.loop("epoch", range(80)):
        for step in flor.loop("step", range(3)):
            weights += epoch * step
        flor.log("first", weights[0])
"""


def test_blocks_do_not_starve_the_ends_of_iterations(tmp_path):
    """Epochs far shorter than a checkpoint: nearly all boundaries are refused."""
    (tmp_path / "train.py").write_text(BLOCKS)
    env = environment(tmp_path / ".flor")
    subprocess.run([sys.executable, "train.py"], cwd=tmp_path, env=env, check=True)
    store = flor.open(tmp_path / ".flor")
    folder = store._layout.checkpoint_dir(store._layout.resolve("latest"))
    with contextlib.closing(_core.ChunkStore(str(store._layout.root), readonly=True)) as chunks:
        kinds = [CheckpointFile(chunks, path).meta["boundary"] for path in folder.iterdir()]
    # Now and then the end of an iteration comes while the one before is still being written.
    assert kinds.count("iteration") >= 0.8 * kinds.count("block") - 1
