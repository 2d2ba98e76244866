"""Does a prediction from the optimizer's state beat the plain difference? Bits a value, measured.

    python -m benchmarks.codec_prediction [--output FOLDER]

Zero-order entropy of the byte planes of the integer residual, chunk by chunk (64 KiB), tables
not counted. Weights: the step from parent to child is regressed on m / (sqrt(v) + eps) of the
parent and of the child (least squares, one pair of factors a chunk), and the residual to that
prediction is coded. Second moment: the parent scaled by beta2 to the number of steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.harness import OUTPUT, Report, run_report
from flor.bench.suites import codec_sets, codec_states
from flor.bench.suites.codec_sets import Array, monotone
from flor.bench.workloads import SMALL

STATES = OUTPUT / "codec_states"
CHUNK = 16_384  # float32 values
EPSILON = 1e-8


def bits(residual: Array) -> float:
    """Bits a value of the zigzagged residual, plane by plane, chunk by chunk."""
    folded = (residual << 1) ^ (residual >> 31)
    total = 0.0
    for start in range(0, len(folded), CHUNK):
        planes = folded[start : start + CHUNK].view(np.uint8).reshape(-1, 4)
        for k in range(4):
            counts = np.bincount(planes[:, k], minlength=256)
            counts = counts[counts > 0]
            total -= float((counts * np.log2(counts / counts.sum())).sum())
    return total / len(folded)


def update(moment: Array, square: Array) -> Array:
    return moment / (np.sqrt(square) + np.float32(EPSILON))


def predicted(parent: Array, child: Array, regressors: list[Array]) -> Array:
    """The parent plus its least-squares step along the regressors, chunk by chunk."""
    out = parent.copy()
    for start in range(0, len(parent), CHUNK):
        part = slice(start, start + CHUNK)
        along = np.stack([r[part] for r in regressors], axis=1)
        factors, *_ = np.linalg.lstsq(along, child[part] - parent[part], rcond=None)
        out[part] += along @ factors.astype(np.float32)
    return out


def row(name: str, role: str, how: str, found: float, plain: float) -> dict[str, Any]:
    return {
        "set": name,
        "role": role,
        "prediction": how,
        "bits": round(found, 2),
        "ratio": round(32 / found, 3),
        "gain %": round(100 * (plain / found - 1), 1),
    }


def measure(quick: bool) -> Report:
    if not (STATES / "bf16-1.npz").exists():
        codec_states.make(STATES, SMALL)
    report = Report("codec_prediction", "Does a prediction beat the difference to the parent?")
    rows = []
    for name in ("early", "late"):
        older, newer = (codec_sets.load(STATES, name, k) for k in (0, 1))
        if quick:
            older, newer = ({r: s[r][:400_000] for r in s} for s in (older, newer))
        floats = [{role: s[role].view(np.float32) for role in s} for s in (older, newer)]
        before, after = (update(s["first_moment"], s["second_moment"]) for s in floats)

        def residual(prediction: Array, role: str, child: Any = newer) -> float:
            return bits(monotone(child[role]) - monotone(prediction.view(np.int32)))

        parent, child = (s["weights"] for s in floats)
        plain = residual(parent, "weights")
        for how, regressors in {
            "none (the parent)": [],
            "parent's m / sqrt(v)": [before],
            "and the child's": [before, after],
        }.items():
            guess = predicted(parent, child, regressors) if regressors else parent
            rows.append(row(name, "weights", how, residual(guess, "weights"), plain))
        square = floats[0]["second_moment"]
        plain = residual(square, "second_moment")
        decayed = square * np.float32(0.999**codec_sets.SPACING)
        rows.append(row(name, "second_moment", "none (the parent)", plain, plain))
        found = residual(decayed, "second_moment")
        rows.append(row(name, "second_moment", "beta2^k v", found, plain))
    report.add("float32", rows)
    return report


if __name__ == "__main__":
    run_report(measure, __doc__)
