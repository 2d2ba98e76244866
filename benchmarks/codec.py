"""Lossless size and speed of successive checkpoints of a real transformer, beside other codecs.

    python -m benchmarks.codec [--quick] [--output FOLDER]
    pip install -r benchmarks/requirements-codec.txt      for the peers

The checkpoints are trained first (benchmarks/codec_states.py; some minutes, then cached). Every
codec compresses the newest checkpoint of each set, once as it is and once as a difference to the
one before, and keeps what is smaller: *each is given the same difference* (floats in their monotone
order as integers, subtracted). One thread, warm buffers, rounds interleaved.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import codec_states
from benchmarks.harness import Report, run_report
from flor import _core

Array = np.ndarray[Any, Any]
MB = 1e6
UNFAIR = """What is unfair: flor codes 64 KiB chunks that can be read one by one, with their headers
and the 17 bytes of a base's name counted; the peers see a whole tensor at once, which favours their
size. flor's time contains computing the difference and choosing codecs by a sample; the peers get
the difference for nothing and do not have to choose between it and the plain values. The peers
allocate their output, flor writes into a buffer that is there. ZipNN and blosc2 may use several
threads by default and are held to one; pcodec runs at its default level.""".replace("\n", " ")


@dataclass(frozen=True)
class Codec:
    """`encode(values, difference)` returns something of a length; `decode` takes it back."""

    name: str
    encode: Callable[[Array], Any]
    decode: Callable[[Any, Array], Any]


def monotone(values: Array) -> Array:
    """Floats given as signed integers, in an order that is theirs."""
    return values ^ ((values >> (values.itemsize * 8 - 1)) & np.iinfo(values.dtype).max)


def difference(values: Array, before: Array) -> Array:
    """What every peer is given: the signed difference in monotone order."""
    return monotone(values) - monotone(before)


def zstd(level: int) -> Codec:
    library = importlib.import_module("zstandard")
    packer, unpacker = library.ZstdCompressor(level=level), library.ZstdDecompressor()
    return Codec(
        f"zstd-{level}", lambda a: packer.compress(a.data), lambda e, a: unpacker.decompress(e)
    )


def lz4() -> Codec:
    library = importlib.import_module("lz4.block")
    return Codec("lz4", lambda a: library.compress(a.data), lambda e, a: library.decompress(e))


def blosc2() -> Codec:
    library = importlib.import_module("blosc2")
    library.set_nthreads(1)
    return Codec(
        "blosc2 zstd+bitshuffle",
        lambda a: library.compress2(
            a, typesize=a.itemsize, clevel=5, codec=library.Codec.ZSTD,
            filters=[library.Filter.BITSHUFFLE],
        ),
        lambda e, a: library.decompress2(e),
    )  # fmt: skip


def pcodec() -> Codec:
    library = importlib.import_module("pcodec")
    config = library.ChunkConfig()
    return Codec(
        "pcodec",
        lambda a: library.standalone.simple_compress(a, config),
        lambda e, a: library.standalone.simple_decompress(e),
    )


def zipnn() -> Codec:
    library = importlib.import_module("zipnn")

    def machine(itemsize: int) -> Any:
        kind = {2: "bfloat16", 4: "float32"}[itemsize]
        return library.ZipNN(input_format="byte", bytearray_dtype=kind, threads=1)

    machines = {size: machine(size) for size in (2, 4)}
    return Codec(
        "ZipNN",
        # It may change what it is given: a copy, outside of which nothing is timed.
        lambda a: machines[a.itemsize].compress(bytearray(a.tobytes())),
        lambda e, a: machines[a.itemsize].decompress(e),
    )


def peers() -> tuple[list[Codec], list[str]]:
    """Return the peers that are installed, and the names of those that are not."""
    found, missing = [], []
    for make in (lambda: zstd(3), lz4, blosc2, pcodec, zipnn):
        try:
            found.append(make())
        except ImportError as error:
            missing.append(str(error.name))
    return found, missing


class Flor:
    """The setting *fast*, as the store uses it."""

    def __init__(self, longest: int) -> None:
        self.out = np.zeros(_core.codec_bound(longest), "u1")
        self.back = np.zeros(longest, "u1")

    def measure(self, values: Array, before: Array) -> tuple[int, float, float]:
        begin = time.perf_counter()
        used = _core.codec_encode(values, self.out, before)
        middle = time.perf_counter()
        _core.codec_decode(self.out[:used], self.back[: values.nbytes], before)
        end = time.perf_counter()
        assert self.back[: values.nbytes].tobytes() == values.tobytes()
        return used, middle - begin, end - middle


def measure_peer(codec: Codec, values: Array) -> tuple[int, float, float]:
    begin = time.perf_counter()
    encoded = codec.encode(values)
    middle = time.perf_counter()
    back = codec.decode(encoded, values)
    end = time.perf_counter()
    if not isinstance(back, np.ndarray):
        back = np.frombuffer(back, "u1")
    assert back.tobytes() == values.tobytes(), codec.name
    return len(encoded), middle - begin, end - middle


def rows_of(
    name: str, role: str, values: Array, before: Array, rounds: int
) -> list[dict[str, Any]]:
    flor = Flor(values.nbytes)
    delta = difference(values, before)
    subjects: dict[str, Callable[[], tuple[int, float, float]]] = {
        "flor fast": lambda: flor.measure(values, before)
    }
    for codec in peers()[0]:
        plain, differing = (len(codec.encode(given)) for given in (values, delta))
        given = values if plain <= differing else delta
        kind = "plain" if given is values else "difference"
        subjects[f"{codec.name} ({kind})"] = lambda c=codec, g=given: measure_peer(c, g)
    samples: dict[str, list[tuple[int, float, float]]] = {subject: [] for subject in subjects}
    names = list(subjects)
    for number in range(rounds):
        start = number % len(names)
        for subject in names[start:] + names[:start]:
            samples[subject].append(subjects[subject]())
    return [
        {
            "set": name,
            "role": role,
            "codec": subject,
            "ratio": round(values.nbytes / found[0][0], 3),
            "encode MB/s": round(values.nbytes / MB / statistics.median(f[1] for f in found)),
            "decode MB/s": round(values.nbytes / MB / statistics.median(f[2] for f in found)),
        }
        for subject, found in samples.items()
    ]


def measure(quick: bool) -> Report:
    folder = codec_states.CACHE
    if not (folder / "bf16-3.npz").exists():
        codec_states.make(folder)
    report = Report("codec", "How small do successive checkpoints get without loss, and how fast?")
    totals: dict[tuple[str, str], list[float]] = {}
    for name in codec_states.SETS:
        rows = []
        newer, older = codec_states.load(name, 3), codec_states.load(name, 2)
        for role in codec_states.ROLES:
            values, before = newer[role], older[role]
            if quick:
                values, before = values[:400_000], before[:400_000]
            rows += rows_of(name, role, values, before, 2 if quick else 5)
            for row in rows[-len(peers()[0]) - 1 :]:
                key = (name, row["codec"].split(" (")[0])
                total = totals.setdefault(key, [0, 0, 0, 0])
                total[0] += values.nbytes
                total[1] += values.nbytes / row["ratio"]
                total[2] += values.nbytes / row["encode MB/s"]
                total[3] += values.nbytes / row["decode MB/s"]
        report.add(name, rows)
    report.add("whole states", [_whole(*key, *total) for key, total in totals.items()])
    report.notes.append(f"flor's inner loops: {_core.codec_kernels()[-1]}")
    if missing := peers()[1]:
        report.notes.append(f"not installed: {', '.join(missing)}")
    report.notes.append(UNFAIR)
    return report


def _whole(
    name: str, codec: str, raw: float, stored: float, encode: float, decode: float
) -> dict[str, Any]:
    return {
        "set": name,
        "codec": codec,
        "ratio": round(raw / stored, 3),
        "encode MB/s": round(raw / encode),
        "decode MB/s": round(raw / decode),
    }


if __name__ == "__main__":
    run_report(measure, __doc__)
