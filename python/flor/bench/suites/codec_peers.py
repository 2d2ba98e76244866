"""Other lossless codecs, one thread each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Codec:
    """``encode(values, before)`` returns something of a length, ``decode`` takes it back.

    Without ``takes_base`` a codec is given plain values or differences and looks at no ``before``.
    """

    name: str
    encode: Callable[[Array, Array], Any]
    decode: Callable[[Any, Array, Array], Any]
    takes_base: bool = False


def zstd() -> Codec:
    """Zstandard, level 3."""
    library = importlib.import_module("zstandard")
    packer, unpacker = library.ZstdCompressor(level=3), library.ZstdDecompressor()
    return Codec(
        "zstd-3",
        lambda values, _: packer.compress(values.data),
        lambda encoded, *_: unpacker.decompress(encoded),
    )


def lz4() -> Codec:
    """LZ4 blocks."""
    library = importlib.import_module("lz4.block")
    return Codec(
        "lz4",
        lambda values, _: library.compress(values.data),
        lambda encoded, *_: library.decompress(encoded),
    )


def blosc2() -> Codec:
    """Blosc2 with bit shuffling and Zstandard."""
    library = importlib.import_module("blosc2")
    library.set_nthreads(1)
    given = {"clevel": 5, "codec": library.Codec.ZSTD, "filters": [library.Filter.BITSHUFFLE]}
    return Codec(
        "blosc2",
        lambda values, _: library.compress2(values, typesize=values.itemsize, **given),
        lambda encoded, *_: library.decompress2(encoded),
    )


def pcodec() -> Codec:
    """pcodec at its default level."""
    library = importlib.import_module("pcodec")
    config = library.ChunkConfig()
    return Codec(
        "pcodec",
        lambda values, _: library.standalone.simple_compress(values, config),
        lambda encoded, *_: library.standalone.simple_decompress(encoded),
    )


def zipnn() -> Codec:
    """ZipNN."""
    library = importlib.import_module("zipnn")

    def machine(itemsize: int) -> Any:
        kind = {2: "bfloat16", 4: "float32"}[itemsize]
        return library.ZipNN(input_format="byte", bytearray_dtype=kind, threads=1)

    machines = {size: machine(size) for size in (2, 4)}
    return Codec(
        "ZipNN",
        # It may change what it is given.
        lambda values, _: machines[values.itemsize].compress(bytearray(values.tobytes())),
        lambda encoded, values, _: machines[values.itemsize].decompress(encoded),
    )


def z4ai() -> Codec:
    """Z4ai, its threads held to one."""
    library = importlib.import_module("z4ai")
    return Codec(
        "z4ai",
        lambda values, _: library.compress_array(values, threads=1),
        lambda encoded, *_: library.decompress_array(encoded),
    )


def z4ai_delta() -> Codec:
    """Z4ai with the difference that it takes itself."""
    library = importlib.import_module("z4ai")
    kinds = {2: "bf16", 4: "fp32"}
    return Codec(
        "z4ai, its own difference",
        lambda values, before: library.compress_delta(
            values.tobytes(), before.tobytes(), dtype=kinds[values.itemsize], threads=1
        ),
        lambda encoded, _, before: library.decompress_delta(encoded, before.tobytes()),
        takes_base=True,
    )


PEERS = [
    ("zstd-3", "zstandard", zstd),
    ("lz4", "lz4", lz4),
    ("blosc2, zstd and bitshuffle", "blosc2", blosc2),
    ("pcodec", "pcodec", pcodec),
    ("ZipNN", "zipnn", zipnn),
    ("z4ai", "z4ai", z4ai),
    ("z4ai, its own difference", "z4ai", z4ai_delta),
]
