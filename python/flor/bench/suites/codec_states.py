"""Checkpoints of a real small transformer for the codec suite, trained here.

Four sets of ten successive checkpoints, 10 steps apart: weights and both moments of AdamW.

    early    float32, right after the start
    late     float32, at the end of a cosine schedule
    frozen   float32, from `late`, 80 % of the parameters frozen
    bf16     parameters and moments in bfloat16, late
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from flor.bench.suites.codec_sets import COUNT, SPACING, Array
from flor.bench.workloads import Size, Training


def train(training: Training, steps: int, rate: float, decay_over: int) -> Iterator[int]:
    """Train; yield the steps done after each. The rate falls as a cosine."""
    for step in range(steps):
        for group in training.optimizer.param_groups:
            group["lr"] = rate * (0.05 + 0.95 * (1 + math.cos(math.pi * step / decay_over)) / 2)
        training.step()
        yield step + 1


def state(training: Training) -> dict[str, Array]:
    """Return each role's tensors, concatenated, as integers of the element's width."""
    params = list(training.model.parameters())
    moments = [training.optimizer.state.get(p, {}) for p in params]
    zero = [torch.zeros_like(p) for p in params]
    parts = {
        "weights": params,
        "first_moment": [m.get("exp_avg", z) for m, z in zip(moments, zero, strict=True)],
        "second_moment": [m.get("exp_avg_sq", z) for m, z in zip(moments, zero, strict=True)],
    }
    flat = {role: torch.cat([t.detach().flatten() for t in ts]) for role, ts in parts.items()}
    return {role: _integers(values) for role, values in flat.items()}


def _integers(flat: torch.Tensor) -> Array:
    found: Array = flat.view(torch.int16 if flat.itemsize == 2 else torch.int32).numpy().copy()
    return found


def _save(path: Path, training: Training) -> None:
    arrays: dict[str, Any] = dict(state(training))
    np.savez(path, **arrays)


def make(folder: Path, size: Size, steps: int = 700, count: int = COUNT) -> None:
    """Train and write the four sets, ``count`` checkpoints each: SET-K.npz.

    ``steps``: twice as many as two sets take, and more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for kind in (torch.float32, torch.bfloat16):
        training = Training(size, dtype=kind)
        early = {SPACING * (k + 2): f"early-{k}" for k in range(count)}
        late = {steps - SPACING * (count - 1 - k): f"late-{k}" for k in range(count)}
        wanted = early | late
        if kind is torch.bfloat16:
            wanted = {at: name.replace("late", "bf16") for at, name in late.items()}
        for done in train(training, steps, 1e-3, steps):
            if done in wanted:
                _save(folder / f"{wanted[done]}.npz", training)
        if kind is torch.float32:
            _frozen(training, folder, count)


def _frozen(training: Training, folder: Path, count: int) -> None:
    params = sorted(training.model.parameters(), key=lambda p: p.numel())
    frozen, whole = 0, sum(p.numel() for p in params)
    for param in reversed(params):
        if frozen + param.numel() <= 0.8 * whole:
            frozen += param.numel()
            param.requires_grad_(False)
    training.optimize(2e-4)
    for done in train(training, SPACING * count, 2e-4, 2 * SPACING * count):
        if done % SPACING == 0:
            _save(folder / f"frozen-{done // SPACING - 1}.npz", training)
