# Written by scripts/stubs; scripts/check compares it with the extension.
# ruff: noqa
"""
The storage core of flor. Private: use the flor package.
"""

from __future__ import annotations
import collections.abc
import numpy.typing
import typing

_T = typing.TypeVar("_T")
__all__: list[str] = [
    "CheckpointReader",
    "ChunkStore",
    "LogRecords",
    "LogWriter",
    "Loop",
    "LoopSite",
    "Pending",
    "RegionBytes",
    "Snapshotter",
    "Sweeper",
    "affine_bytes",
    "affine_decode",
    "affine_encode",
    "before_step",
    "block_bound",
    "can_protect",
    "can_track",
    "codec_bound",
    "codec_decode",
    "codec_encode",
    "codec_kernels",
    "column_decode",
    "column_encode",
    "column_needs_base",
    "context_enter",
    "context_leave",
    "context_path",
    "context_reset",
    "context_step",
    "dequantize",
    "describe_tensor",
    "encode_block",
    "get_active",
    "log",
    "log_encoded",
    "loops_begun",
    "mark_training",
    "memory",
    "pool_maps",
    "quantize",
    "read_log",
    "samples",
    "set_active",
    "set_file_listener",
    "set_loop_watcher",
    "set_slow_path",
    "watch_array",
    "watched_array",
]

class LogWriter:
    """
    The background logger of one process.
    """
    def __init__(
        self,
        directory: str,
        writer: str,
        *,
        ring_bytes: int = 1048576,
        segment_bytes: int = 67108864,
    ) -> None: ...
    def close(self) -> None:
        """
        Flushes and ends the background thread. A second call does nothing.
        """
    def flush(self) -> None:
        """
        Everything logged before, by any thread, is on the device after this.
        """
    def log(
        self,
        name: str,
        value: typing.Any,
        context: collections.abc.Sequence[tuple[str, int]] | None = None,
    ) -> None:
        """
        Logs in an explicit context, a list of (loop, index) pairs, outermost first.
        """
    def log_encoded(
        self,
        name: str,
        kind: int,
        payload: typing.Any,
        context: collections.abc.Sequence[tuple[str, int]] | None = None,
    ) -> None:
        """
        Logs an encoded value; kind as on disk, with 0x80 for a reference.
        """
    def stats(self) -> dict[str, typing.Any]:
        """
        Counters: records, waits, wait_ns, lost, bytes_written, segments, rings, memory_bytes.
        """
    @property
    def directory(self) -> str: ...
    @property
    def error(self) -> str | None:
        """
        The first failure of the background thread, or None; it stays.
        """
    @property
    def writer(self) -> str: ...

class Loop:
    """
    An instrumented loop that runs: an iterator.
    """
    @property
    def depth(self) -> int: ...
    @property
    def index(self) -> int: ...
    @property
    def iterable(self) -> typing.Any: ...
    @property
    def key(self) -> typing.Any: ...
    @property
    def name(self) -> str: ...
    @property
    def recorded(self) -> bool: ...
    @property
    def trained(self) -> bool: ...
    def __iter__(self) -> Loop: ...
    def __next__(self) -> typing.Any: ...
    def skip(self, count: int, /) -> bool: ...
    def stop(self) -> None: ...

class LoopSite:
    """
    A loop of the source: called with an iterable, or without one for a `while`, it returns the
    iterator to loop over.

    suspends: it stands in a generator. counted: 2: its loops are numbered with the others of their
    name; 1: only those directly inside an outermost loop; 0: none, they are there for a probe.
    light: only those directly inside an outermost loop are seen, the others are the iterators that
    they would be without flor.
    """
    def __init__(
        self,
        name: str,
        key: typing.Any = None,
        suspends: bool = False,
        counted: int = 2,
        light: bool = False,
    ) -> None: ...
    def __call__(self, iterable: typing.Any = ..., /) -> typing.Any: ...
    @property
    def key(self) -> typing.Any: ...
    @property
    def name(self) -> str: ...
    def finish(self) -> None: ...

class ChunkStore:
    """
    A content-addressed store of chunks, in the folder of a flor store.
    """
    @staticmethod
    def id_text(id: bytes) -> str:
        """
        A chunk's name as messages show it.
        """
    def __init__(self, root: str, *, readonly: bool = False, use_index: bool = True) -> None: ...
    def close(self) -> None:
        """
        Seal the packs and end all use.
        """
    def contains(self, ref: bytes) -> bool:
        """
        Whether every chunk of a reference is known.
        """
    def get(self, ref: bytes) -> bytes:
        """
        The bytes of a reference, checked.
        """
    def index_problem(self) -> str | None:
        """
        What is wrong with the index file; None when nothing is.
        """
    def packs(self) -> list[str]:
        """
        The paths of the packs, by their numbers.
        """
    def places(self) -> bytes:
        """
        Where each chunk lies, packed: id (17 bytes), u8 codec, u32 pack, u64 offset, u32 stored, u32 raw bytes.
        """
    def put(self, buffer: typing.Any) -> bytes:
        """
        Store the bytes and return their reference; kill -9 does not lose them.
        """
    def put_many(
        self, buffer: typing.Any, spans: collections.abc.Sequence[tuple[int, int]]
    ) -> tuple[typing.Any, ...]:
        """
        Store spans (start, length) of a buffer, one behind the other in a pack where they are new; (their references, bytes added to packs).
        """
    def read_into(self, ref: bytes, buffer: typing.Any, offset: int = 0) -> None:
        """
        Fill a writable buffer with the bytes of a reference from `offset` on, checked.
        """
    def renew_index(self) -> None:
        """
        Write the index file anew, where the store has one or needs one.
        """
    def stats(self) -> dict[str, typing.Any]:
        """
        Counts of the store and of its use.
        """
    def sync(self) -> None:
        """
        Make what was put durable.
        """
    def verify(self, progress: typing.Any = None) -> list[dict[str, typing.Any]]:
        """
        Re-read every chunk; a list of dicts (path, offset, id, problem, covered: another copy is whole), empty when all is well. progress(done, total) in bytes.
        """
    @property
    def root(self) -> str: ...

class Sweeper:
    """
    Gives back the bytes of chunks that nothing names; one at a time a store.
    """
    def __init__(self, store: ChunkStore) -> None: ...
    def mark(self, ref: bytes) -> None:
        """
        Keep what this reference names.
        """
    def pair(self, ref: bytes, neighbour: bytes) -> None:
        """
        What this reference names may be stored as a difference to the neighbour, where both are marked; older pairs first.
        """
    def plan(self) -> dict[str, typing.Any]:
        """
        What a sweep would do: packs (path, bytes, live_bytes, chunks, live_chunks, fate), freed_bytes, lost_chunks, recoded_chunks.
        """
    def set_aside(self, paths: collections.abc.Sequence[str], folder: str) -> list[str]:
        """
        Move damaged packs into a folder, their whole chunks into a new pack; the paths of those that a living process uses come back.
        """
    def sweep(self, progress: typing.Any = None) -> dict[str, typing.Any]:
        """
        Do it; progress(done, total) in bytes.
        """

class Pending:
    """
    A checkpoint on its way to the disk.
    """
    def wait(self, timeout: float | None = None) -> bool:
        """
        True when durable, False after the timeout (seconds); raises what failed.
        """
    @property
    def background_cpu_seconds(self) -> float: ...
    @property
    def done(self) -> bool: ...
    @property
    def error(self) -> str | None: ...
    @property
    def path(self) -> str: ...
    @property
    def raw_bytes(self) -> int: ...
    @property
    def refused(self) -> bool:
        """
        Whether it failed because it may not be the state at its instant.
        """
    @property
    def stall_seconds(self) -> float: ...
    @property
    def stored_bytes(self) -> int: ...

class Snapshotter:
    """
    Captures buffers at an instant and stores them in the background.
    """
    def __init__(
        self,
        store: ChunkStore,
        *,
        staging_bytes: int = 1073741824,
        threads: int = 1,
        key_interval: int = 8,
    ) -> None: ...
    def close(self) -> None:
        """
        Finish what is in flight and end the threads.
        """
    def drain(self) -> None:
        """
        Wait until nothing is in flight.
        """
    def held_seconds(self) -> float:
        """
        How long writers waited, in settle() or at a first write, since this was last asked.
        """
    def settle(self) -> None:
        """
        Buffers captured with contract 1 may be written after this.
        """
    def settle_before_steps(self) -> None:
        """
        before_step() settles it from now on.
        """
    def stats(self) -> dict[str, typing.Any]: ...
    def take(
        self,
        buffers: collections.abc.Sequence[typing.Any],
        manifest_path: str,
        meta: bytes,
        contracts: bytes = b"",
    ) -> Pending:
        """
        Capture the buffers and return; they are stored in the background. A byte a buffer says how: 0 copied now, 1 read until settle(), 2 read until the first write, 3 as 1 and refused when someone writes without it; plus 16: what is found unchanged is left out from then on, until someone writes there.
        """
    def warm_up(self, nbytes: int) -> None:
        """
        Touch staging memory in the background, so that the first take finds it warm.
        """
    @property
    def error(self) -> str | None: ...

class RegionBytes:
    """
    Read-only bytes of a region; use memoryview().
    """
    def __len__(self) -> int: ...

class CheckpointReader:
    """
    One checkpoint: its meta bytes and its regions.
    """
    def __init__(self, store: ChunkStore, manifest_path: str) -> None: ...
    def is_zero_copy(self, region: int) -> bool: ...
    def read(self, region: int, offset: int = 0, nbytes: int = -1) -> RegionBytes:
        """
        Bytes of a region: a view of the store where it can be, else a decoded copy.
        """
    def read_into(self, region: int, buffer: typing.Any, offset: int = 0) -> None:
        """
        Fill a writable buffer from a region.
        """
    def read_regions(
        self, regions: collections.abc.Sequence[int], buffers: collections.abc.Sequence[typing.Any]
    ) -> None:
        """
        Fill a writable buffer from each of these regions, all at once, on several cores.
        """
    def region_ref(self, region: int) -> bytes:
        """
        The name of a region's content: equal names are equal content.
        """
    def verify(self) -> list[dict[str, typing.Any]]:
        """
        Re-read every chunk; a list of dicts, empty when all is well.
        """
    @property
    def meta(self) -> bytes: ...
    @property
    def path(self) -> str: ...
    @property
    def raw_bytes(self) -> int: ...
    @property
    def regions(self) -> list[int]: ...
    @property
    def stored_bytes(self) -> int: ...
    @property
    def time(self) -> float: ...

class LogRecords:
    """
    Log records as an Arrow record batch: pyarrow.record_batch(records).
    """
    def __arrow_c_array__(self, requested_schema: typing.Any = None) -> tuple[typing.Any, ...]: ...
    def __arrow_c_schema__(self) -> typing.Any: ...
    def __len__(self) -> int: ...
    @property
    def dropped_blocks(self) -> int:
        """
        Damaged blocks, rings and files that tolerant reading left out.
        """
    @property
    def dropped_records(self) -> int:
        """
        Records of good blocks whose name or loop was defined in a damaged one.
        """
    @property
    def torn_tails(self) -> int:
        """
        Segments whose last block was cut off while it was written; its records are in the ring.
        """

def affine_bytes(values: int, channels: int) -> int:
    """
    Room that affine_encode takes.
    """

def affine_decode(
    encoded: typing.Any,
    channels: int,
    out: typing.Any,
    rows: int,
    width: int,
    first: int,
    stride: int,
) -> None:
    """
    Fill rows of float32 `out` from element `first` on, `stride` apart.
    """

def affine_encode(values: typing.Any, channels: int, out: typing.Any) -> float:
    """
    Encode float32 values, value i of channel i mod channels, in 8 bits between the least and the largest of a channel; return the largest error, NaN when some value or range can't be kept so.
    """

def before_step(*ignored: typing.Any) -> None:
    """
    Settles every Snapshotter that was given to settle_before_steps(). A hook for optimizers.
    """

def block_bound(rows: int, widths: collections.abc.Sequence[int]) -> int:
    """
    Room that encode_block may need.
    """

def can_protect() -> bool:
    """
    Whether the system tells this process of writes to protected memory.
    """

def can_track() -> bool:
    """
    Whether the system tells this process afterwards of writes to its memory.
    """

def codec_bound(nbytes: int) -> int:
    """
    Room that codec_encode may need for so many bytes.
    """

def codec_decode(encoded: typing.Any, out: typing.Any, base: typing.Any = None) -> None:
    """
    Decode into `out`, which has the decoded length.
    """

def codec_encode(buffer: typing.Any, out: typing.Any, base: typing.Any = None) -> int:
    """
    Encode a buffer as the store would, chunk by chunk, into `out`; return the bytes used. `base`: as many bytes that it may be a difference to.
    """

def codec_kernels() -> list[str]:
    """
    The instruction sets that this processor has, slowest first; the last is used.
    """

def column_decode(encoded: typing.Any, out: typing.Any, base: typing.Any = None) -> None:
    """
    Decode into `out`, which has the decoded length.
    """

def column_encode(
    values: typing.Any, width: int, floating: bool, base: typing.Any = None, level: int = 12
) -> bytes:
    """
    Encode a column of elements of `width` bytes in as few bytes as several chains can; `base`: as many bytes that it may be a difference to.
    """

def column_needs_base(encoded: typing.Any) -> bool:
    """
    Whether an encoded column is a difference to its base.
    """

def context_enter(loop: str, /) -> int:
    """
    Enters a loop; it adds nothing to the path before its first step.
    """

def context_leave(token: int, /) -> None:
    """
    Leaves that loop alone, also when it is not the last.
    """

def context_path() -> list[tuple[str, int]]:
    """
    Outermost first.
    """

def context_reset() -> None:
    """
    Leaves all loops of this thread and forgets their counts.
    """

def context_step(token: int, index: int, value: str | None = None, /) -> None:
    """
    Begins an iteration of an entered loop; value is JSON text of at most 64 KiB.
    """

def dequantize(encoded: typing.Any, out: typing.Any, base: typing.Any = None) -> None:
    """
    Decode into float32 `out`.
    """

def describe_tensor(tensor: typing.Any) -> typing.Any:
    """
    Returns (dtype, device, shape, strides and offset in elements, requires_grad or 'graph',
    1 conjugate + 2 negative, storage, its address, its bytes, whether it is torch's own memory of
    this process, first and end byte that the tensor covers), or None for one that is not dense.
    Raises what its attributes raise.
    """

def encode_block(
    block: typing.Any,
    rows: int,
    widths: collections.abc.Sequence[int],
    by_column: bool,
    code: int,
    out: typing.Any,
) -> bytes:
    """
    Encode the parts of rows of float32 values, a part `widths` of them, into `out`. Code 0: as they are, 3: 8 bits between the least and the largest of a part, or `by_column`. Packed, a part: u64 start, u64 length, u32 code, f32 low, f32 high, f32 error, u64 zeros, u64 that are no numbers.
    """

def get_active() -> typing.Any:
    """
    The active writer; None in a forked child.
    """

def log(name: str, value: _T, /) -> _T:
    """
    Logs to the active writer in the calling thread's context and returns the value. What it does not take
    itself (other types, large payloads, no active writer) goes to the slow path.
    """

def log_encoded(name: str, kind: int, payload: typing.Any, /) -> None:
    """
    Logs an encoded value to the active writer in the calling thread's context; kind as on disk, with 0x80
    for a reference. payload is bytes-like or str. Raises ClosedError without an active writer.
    """

def loops_begun(name: str, /) -> int:
    """
    How many loops of that name began in the calling thread outside of all others.
    """

def mark_training(*ignored: typing.Any) -> None:
    """
    Marks the calling thread's loops as containing a training step. A hook for optimizers.
    """

def memory(
    owner: typing.Any, address: int, nbytes: int, readonly: bool
) -> numpy.typing.NDArray[typing.Any]:
    """
    Returns the live memory at an address as a uint8 array of NumPy that keeps `owner` alive.
    """

def pool_maps(
    maps: typing.Any, high: int, wide: int, side: int, largest: bool, out: typing.Any
) -> float:
    """
    Fill `out` with the means, or maxima, of side × side cells of float32 maps; return the largest difference of a value to that of its cell.
    """

def quantize(values: typing.Any, bits: int, base: typing.Any = None) -> tuple[typing.Any, ...]:
    """
    Codes of float32 values (of 2 to 8 bits, a step per 8192), as a difference to `base` when it is given: (bytes, largest absolute error).
    """

def read_log(directory: str, tolerant: bool = False) -> LogRecords:
    """
    Reads every writer's segments and left-over rings in a folder, also while they are written.
    """

def samples(views: list[typing.Any], seen: list[typing.Any]) -> bytes:
    """
    Returns the length and up to 64 evenly spaced words and the tail of bytes [low, high) of each
    view, one after the other.
    """

def set_active(writer: typing.Any, *, same_run: bool = False) -> None:
    """
    The writer that log() uses, or None. Loops are counted anew (`name#2`), unless it goes on with the same run.
    """

def set_file_listener(
    callable: typing.Any, system: collections.abc.Sequence[str] = [], inside: str = ""
) -> None:
    """
    callable(event, arguments) is called before files are opened, renamed, removed or truncated: audit
    events of Python, by whichever thread causes them. None: no more. Exceptions from it are written to
    stderr and otherwise ignored. Files that are only read and whose paths begin with one of `system`,
    and not with `inside`, are not told.
    """

def set_loop_watcher(watcher: collections.abc.Callable[[Loop], typing.Any] | None, /) -> None:
    """
    watcher(loop) is called when a loop begins outside of all others, or directly in
    one with a handler. It returns None or a handler: iteration_ended(loop), ended(loop, exhausted).
    NotImplemented: it need not be asked again: about loops of that site outside of all others,
    until a watcher is set; about loops in the one with a handler, whose block_ended(loop) is
    called instead at the natural end of those that trained, were recorded or took over 2 ms.
    """

def set_slow_path(callable: typing.Any) -> None:
    """
    callable(name, value): gets what log() does not take itself.
    """

def watch_array(array: typing.Any, ndarray: typing.Any) -> int:
    """
    Returns the serial number of an array, which no other ever has; `ndarray` is numpy.ndarray. It is
    forgotten when the array dies. Raises TypeError.
    """

def watched_array(address: int, serial: int) -> typing.Any:
    """
    Returns the array at an address (its id) if it is alive and has that serial number, else None.
    """
