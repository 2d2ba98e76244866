"""Size and speed of successive checkpoints: without loss, and by choice with it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from flor import _core
from flor.bench.apart import apart
from flor.bench.harness import BenchError, Experiment, Figure, Figures
from flor.bench.peers import Peer
from flor.bench.suites import Plan, codec_lossy, codec_peers, codec_ten
from flor.bench.suites.codec_peers import Codec
from flor.bench.suites.codec_sets import COUNT, ROLES, Array, load, monotone

QUESTION = "How small does a checkpoint get beside the one before, and how fast?"
UNFAIR = """
Each peer is given the same difference (floats in their monotone order as integers, subtracted) and
the plain values, and keeps what is smaller for it. flor codes 64 KiB chunks that can be read one by
one, with their headers and the 17 bytes of a base's name counted; the peers see a whole tensor at
once, which favours their size. flor's time contains computing the difference and choosing codecs by
a sample; the peers get the difference for nothing and do not have to choose. The peers allocate
their output, flor writes into a buffer that is there. One thread: ZipNN, z4ai and blosc2 are held
to one; pcodec runs at its default level. Lossy: float16 and bfloat16 round values, the others
differences to what the last encoding decodes to.
"""
NEWEST = COUNT - 2, COUNT - 1
REPEATS = 3
MB = 1e6


def lossless(folder: Path, states: Path, name: str, make: Callable[[], Codec]) -> Figures:
    """Return ratio and speeds of a codec for weights and both moments of the newer of two."""
    older, newer = (load(states, name, k) for k in NEWEST)
    codec = make()
    out: dict[str, float] = {}
    raw = stored = encoding = decoding = 0.0
    for role, values in newer.items():
        used, encode_s, decode_s = _role(codec, values, older[role])
        out[role.replace("_", " ")] = values.nbytes / used
        raw, stored = raw + values.nbytes, stored + used
        encoding, decoding = encoding + encode_s, decoding + decode_s
    speeds = {"encode": raw / MB / encoding, "decode": raw / MB / decoding}
    return {"ratio": raw / stored} | speeds | out


def _role(codec: Codec, values: Array, before: Array) -> tuple[int, float, float]:
    """Bytes used and median seconds of both ways, checked."""
    given = values
    if not codec.takes_base:
        delta = monotone(values) - monotone(before)
        given = min(values, delta, key=lambda one: len(codec.encode(one, before)))
    encoding, decoding = [], []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        encoded = codec.encode(given, before)
        middle = time.perf_counter()
        back = codec.decode(encoded, given, before)
        decoding.append(time.perf_counter() - middle)
        encoding.append(middle - begin)
        if not isinstance(back, np.ndarray):
            back = np.frombuffer(back, "u1")
        if back.tobytes() != given.tobytes():
            raise BenchError(f"{codec.name} gave other bytes back")
    return len(encoded), statistics.median(encoding), statistics.median(decoding)


def flor_fast() -> Codec:
    """The setting *fast*, as the store uses it, into buffers that are warm."""
    buffers: dict[int, tuple[Array, Array]] = {}

    def warm(nbytes: int) -> tuple[Array, Array]:
        if nbytes not in buffers:
            bound = _core.codec_bound(nbytes)
            buffers[nbytes] = (np.zeros(bound, "u1"), np.zeros(nbytes, "u1"))
        return buffers[nbytes]

    def encode(values: Array, before: Array) -> Array:
        out, _ = warm(values.nbytes)
        return out[: _core.codec_encode(values, out, before)]

    def decode(encoded: Any, values: Array, before: Array) -> Array:
        _, back = warm(values.nbytes)
        _core.codec_decode(encoded, back, before)
        return back

    return Codec("flor fast", encode, decode, takes_base=True)


def lossy(folder: Path, states: Path, kind: str) -> Figures:
    """Return what a lossy encoding of late weights takes, as a difference to the state before."""
    from flor.lossy import quantize

    older, newer = (load(states, "late", k)["weights"].view("f4") for k in NEWEST)
    delta = kind.startswith("int")
    base = quantize(older, kind).values() if delta else None
    encoding, decoding = [], []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        kept = quantize(newer, kind, base=base)
        middle = time.perf_counter()
        back = kept.values(base=base)
        decoding.append(time.perf_counter() - middle)
        encoding.append(middle - begin)
    if float(np.abs(back - newer).max()) > kept.max_error:
        raise BenchError(f"{kind}: the stated error does not hold")
    return {
        "ratio": newer.nbytes / kept.nbytes,
        "encode": newer.nbytes / MB / statistics.median(encoding),
        "decode": newer.nbytes / MB / statistics.median(decoding),
        "largest error": kept.max_error * 1e6,
    }


def train_states(folder: Path, states: Path, size: Any, steps: int) -> Figures:
    """Train the states that are measured."""
    from flor.bench.suites import codec_states

    codec_states.make(states, size, steps)
    return {}


def experiments(plan: Plan) -> Iterator[Experiment]:
    """Yield one for each set of checkpoints, and the lossy encodings."""
    titles = {
        "early": "Early in a training, float32",
        "late": "Late in a training, float32",
        "frozen": "80 % frozen, float32",
        "bf16": "Late in a training, bfloat16",
    }
    last = "By choice with loss"
    ten = {"late": "Ten successive, late, float32", "bf16": "Ten successive, late, bfloat16"}
    yield from successive(plan)
    if not any(plan.wants(title) for title in (*titles.values(), *ten.values(), last)):
        return
    from flor.bench.workloads import QUICK, SMALL

    states = plan.scratch / "states"
    size, steps = (QUICK, 250) if plan.quick else (SMALL, 700)
    apart(train_states, plan.scratch, states=states, size=size, steps=steps)()
    speeds = [Figure("encode", "MB/s", lower=False), Figure("decode", "MB/s", lower=False)]
    roles = [Figure(role.replace("_", " "), "raw / stored", lower=False) for role in ROLES]
    ratio = Figure("ratio", "raw / stored", lower=False)
    for name, title in titles.items():
        if plan.wants(title):
            yield plan.experiment(
                title,
                "Weights and both moments, as a difference to the checkpoint 10 steps before.",
                [ratio, *speeds, *roles],
                [
                    Peer("flor fast", lossless, given={"make": flor_fast}, ours=True),
                    *(
                        Peer(label, lossless, module, given={"make": make})
                        for label, module, make in codec_peers.PEERS
                    ),
                ],
                (1, 5),
                base="flor fast",
                notes=[f"flor's inner loops: {_core.codec_kernels()[-1]}"],
                states=states,
                name=name,
            )
    for name, title in ten.items():
        if plan.wants(title):
            yield _ten(plan, title, ratio, states, name)
    if plan.wants(last):
        yield plan.experiment(
            last,
            "Late weights; largest error: no value is farther off.",
            [ratio, *speeds, Figure("largest error", "1e-6")],
            [
                Peer(f"flor {kind}", lossy, given={"kind": kind}, ours=True)
                for kind in ("fp16", "bf16", "int8", "int4")
            ],
            (1, 5),
            base="flor fp16",
            states=states,
        )


def _ten(plan: Plan, title: str, ratio: Figure, states: Path, name: str) -> Experiment:
    return plan.experiment(
        title,
        "flor: all that the packs of a store take. fast: as a run leaves it, a key and differences "
        "to it; small: after flor gc --small. Peers: the first plain, the others as differences to "
        "the one before.",
        [ratio, Figure("encode", "MB/s", lower=False)],
        [
            Peer("flor fast", codec_ten.kept_by_flor, given={"small": False}, ours=True),
            Peer("flor small", codec_ten.kept_by_flor, given={"small": True}, ours=True),
            *(
                Peer(label, codec_ten.kept_by_peer, module, given={"make": make})
                for label, module, make in codec_peers.PEERS
            ),
        ],
        (1, 3),
        base="flor fast",
        notes=["encode of flor fast: until durable on the disk; of flor small: storing all anew."],
        states=states,
        name=name,
    )


def successive(plan: Plan) -> Iterator[Experiment]:
    """Yield the lossy experiment over many states."""
    count = 10 if plan.quick else 100
    title = f"{count} successive states, with loss"
    if not plan.wants(title):
        return
    from flor.bench.workloads import QUICK, SMALL

    yield plan.experiment(
        title,
        f"Late weights, {codec_lossy.SPACING} steps apart. loss off: of the last state's "
        "evaluation, decoded against exact.",
        [
            Figure("ratio", "raw / stored", lower=False),
            Figure("encode", "MB/s", lower=False),
            Figure("largest error", "1e-6, over all states"),
            Figure("stated", "1e-6, the largest error as stated"),
            Figure("loss off", "1e-6"),
        ],
        [
            Peer(f"flor {kind}", codec_lossy.hundred, "torch", given={"kind": kind}, ours=True)
            for kind in ("fp16", "int8", "int4")
        ],
        (1, 1),
        base="flor fp16",
        size=QUICK if plan.quick else SMALL,
        steps=20 if plan.quick else 500,
        count=count,
    )
