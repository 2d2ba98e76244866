"""How long one checkpoint holds its caller, beside a plain copy and other ways to save, in one run.

    python -m benchmarks.checkpoint_call [--quick] [--mb 344] [--rounds 7] [--output FILE.json]

The state is float32 arrays shaped like a transformer with AdamW (weights and two moments). Every
value changes between checkpoints, so nothing is found in the store already, but for
"flor_unchanged". Each round measures all methods, one after the other, in rotating order. "call"
is how long the caller is held; "durable" is from the call to fdatasync and rename done; "cpu" is
the processor time of the background thread.

Unfair: torch.save and safetensors write without fsync, so they have no "durable".
"""

import argparse
import json
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from flor import _core

LAYER = [(512, 512)] * 4 + [(512, 2048), (2048, 512)] + [(512,)] * 6


def make_state(megabytes):
    """Arrays of the lengths of a transformer's layers until there is enough."""
    rng = np.random.default_rng(0)
    state, total = [], 0
    while total < megabytes * 1e6:
        for shape in LAYER:
            array = rng.standard_normal(shape, dtype=np.float32)
            state.append(array)
            total += array.nbytes
    return state


def touch(state):
    """Every value changes, as after an optimizer step."""
    for array in state:
        array *= np.float32(0.999)


class Methods:
    """Each method takes the state and returns a dict of seconds."""

    def __init__(self, state, folder):
        self.folder = folder
        self.warm = [np.empty_like(array) for array in state]
        for copy, array in zip(self.warm, state, strict=True):
            np.copyto(copy, array)
        self.store = _core.ChunkStore(str(folder))
        self.snapshotter = _core.Snapshotter(self.store)
        self.taken = 0

    def memcpy(self, state):
        begin = time.perf_counter()
        for copy, array in zip(self.warm, state, strict=True):
            np.copyto(copy, array)
        return {"call": time.perf_counter() - begin}

    def flor(self, state):
        self.taken += 1
        begin = time.perf_counter()
        pending = self.snapshotter.take(state, str(self.folder / f"{self.taken}.ckpt"), b"")
        call = time.perf_counter() - begin
        pending.wait()
        durable = time.perf_counter() - begin
        return {"call": call, "durable": durable, "cpu": pending.background_cpu_seconds}

    def flor_unchanged(self, state):
        self.flor(state)
        return self.flor(state)

    def torch_save(self, state):
        import torch

        tensors = {str(i): torch.from_numpy(array) for i, array in enumerate(state)}
        begin = time.perf_counter()
        torch.save(tensors, self.folder / "torch.pt")
        return {"call": time.perf_counter() - begin}

    def safetensors(self, state):
        from safetensors.numpy import save_file

        tensors = {str(i): array for i, array in enumerate(state)}
        begin = time.perf_counter()
        save_file(tensors, self.folder / "state.safetensors")
        return {"call": time.perf_counter() - begin}

    def close(self):
        self.snapshotter.close()
        self.store.close()

    def clear(self):
        """A fresh store, so that the disk does not fill up."""
        self.snapshotter.drain()
        self.store.close()
        for path in [self.folder / "packs", *self.folder.glob("*.ckpt")]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        snapshotter, self.store = self.snapshotter, _core.ChunkStore(str(self.folder))
        self.snapshotter = _core.Snapshotter(self.store)
        snapshotter.close()
        self.flor(self.warm)  # warm the new staging memory


def run(quick=False, megabytes=344, rounds=7):
    """Medians, in milliseconds, with the spread of each."""
    if quick:
        megabytes, rounds = 40, 3
    state = make_state(megabytes)
    folder = Path(tempfile.mkdtemp(prefix="flor-bench-"))
    methods = Methods(state, folder)
    names = ["memcpy", "flor", "flor_unchanged", "torch_save", "safetensors"]
    first = methods.flor(state)
    results = {name: [] for name in names}
    try:
        for number in range(rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                touch(state)
                results[name].append(getattr(methods, name)(state))
            if number % 3 == 2:
                methods.clear()
    finally:
        methods.close()
        shutil.rmtree(folder)
    table = {}
    for name, samples in results.items():
        table[name] = {
            key: {
                "median_ms": statistics.median(sample[key] for sample in samples) * 1e3,
                "min_ms": min(sample[key] for sample in samples) * 1e3,
                "max_ms": max(sample[key] for sample in samples) * 1e3,
            }
            for key in samples[0]
        }
    return {
        "benchmark": "checkpoint_call",
        "machine": f"{platform.processor() or platform.machine()}, Linux {platform.release()}",
        "state_mb": sum(array.nbytes for array in state) / 1e6,
        "rounds": rounds,
        "first_call_ms": first["call"] * 1e3,
        "methods": table,
        "call_per_memcpy": table["flor"]["call"]["median_ms"]
        / table["memcpy"]["call"]["median_ms"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--mb", type=float, default=344)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path)
    args = parser.parse_args()
    result = run(args.quick, args.mb, args.rounds)
    print(f"state {result['state_mb']:.0f} MB, first call {result['first_call_ms']:.0f} ms (cold)")
    for name, figures in result["methods"].items():
        parts = [
            f"{key} {value['median_ms']:8.1f} ms ({value['min_ms']:.0f}-{value['max_ms']:.0f})"
            for key, value in figures.items()
        ]
        print(f"{name:16}", "   ".join(parts))
    print(f"call / memcpy = {result['call_per_memcpy']:.2f}")
    if args.output:
        args.output.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
