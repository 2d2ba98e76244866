"""The safetensors file format, written without a dependency.

A file is the length of the header (u64, little endian), the header (JSON: name → dtype, shape,
offsets into the data), and the data.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from flor.errors import InvalidError
from flor.files import storage_error

# Names of dtypes as torch and numpy say them.
DTYPES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "uint16": "U16",
    "int16": "I16",
    "uint32": "U32",
    "int32": "I32",
    "uint64": "U64",
    "int64": "I64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "bfloat16": "BF16",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "complex64": "C64",
}

Buffer = bytes | memoryview
Tensor = tuple[str, str, Sequence[int], Buffer]


def write_safetensors(
    path: Path, tensors: Iterable[Tensor], metadata: Mapping[str, str] | None = None
) -> int:
    """Write (name, dtype, shape, bytes) to ``path``, through a temporary file; return their number.

    ``dtype`` is a key of ``DTYPES``, bytes are little endian and contiguous. Raises InvalidError
    for a dtype that the format lacks or a name that comes twice, StorageError.
    """
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    buffers: list[Buffer] = []
    offset = 0
    for name, dtype, shape, data in tensors:
        if dtype not in DTYPES:
            raise InvalidError(f"{name} is {dtype}, which safetensors can't hold; leave it out")
        if name in entries:
            raise InvalidError(f"two tensors are named {name!r}: names have to be unique")
        size = memoryview(data).nbytes
        entries[name] = {
            "dtype": DTYPES[dtype],
            "shape": list(shape),
            "data_offsets": [offset, offset + size],
        }
        buffers.append(data)
        offset += size
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    _write(path, [struct.pack("<Q", len(header)), header, *buffers])
    return len(buffers)


def _write(path: Path, parts: Iterable[Buffer]) -> None:
    temp = path.with_name(path.name + ".tmp")
    try:
        with temp.open("wb") as file:
            file.writelines(parts)
        temp.replace(path)
    except OSError as cause:
        temp.unlink(missing_ok=True)
        raise storage_error(cause, path, "write") from cause
