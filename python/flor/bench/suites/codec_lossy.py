"""A hundred successive states of a training, each kept with loss as a difference to the one before.

What is to be seen: that errors do not add up (each difference is taken to what the state before
decodes to), and what a model that was kept like that is worth.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from flor.bench.harness import BenchError, Figures

SPACING = 5
MB = 1e6


def hundred(folder: Path, kind: str, size: Any, steps: int, count: int) -> Figures:
    """Train for ``steps``, then keep ``count`` states of the weights; return what that costs.

    ``loss off``: how far the evaluation loss of the last state is off, decoded against exact.
    """
    import torch

    from flor.bench.suites.codec_states import train
    from flor.bench.workloads import Training
    from flor.lossy import quantize

    torch.set_num_threads(1)
    training = Training(size)
    params = list(training.model.parameters())
    base = None
    raw = stored = seconds = worst = stated = 0.0
    for done in train(training, steps + SPACING * (count - 1), 1e-3, steps + SPACING * count):
        if done < steps or (done - steps) % SPACING:
            continue
        exact = torch.cat([p.detach().flatten() for p in params]).numpy()
        begin = time.perf_counter()
        kept = quantize(exact, kind, base=base)
        seconds += time.perf_counter() - begin
        decoded = kept.values(base=base)
        error = float(np.abs(decoded - exact).max())
        if error > kept.max_error:
            raise BenchError(f"{kind}: off by {error}, stated was {kept.max_error}")
        base = decoded if kind.startswith("int") else None
        raw, stored = raw + exact.nbytes, stored + kept.nbytes
        worst, stated = max(worst, error), max(stated, kept.max_error)
    before = evaluation(training)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(decoded), params)
    return {
        "ratio": raw / stored,
        "encode": raw / MB / seconds,
        "largest error": worst * 1e6,
        "stated": stated * 1e6,
        "loss off": abs(evaluation(training) - before) * 1e6,
    }


def evaluation(training: Any) -> float:
    """Return the mean loss over fixed batches of text, in double precision."""
    import torch

    from flor.bench.workloads import corpus

    text, length = corpus(), training.size.length
    starts = torch.linspace(0, len(text) - length - 2, 256).long().tolist()
    losses = []
    with torch.no_grad():
        for at in range(0, len(starts), 16):
            rows = torch.stack([text[i : i + length + 1] for i in starts[at : at + 16]])
            logits = training.model(rows[:, :-1]).double()
            losses.append(
                torch.nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            )
    return float(torch.stack(losses).mean())
