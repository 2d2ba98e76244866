"""Checkpoints of a real small transformer for the codec benchmark: trained here, kept in a cache.

The model is a byte-level language model of the source of Python's standard library. Four sets of
successive checkpoints, 20 steps apart, each with weights and both moments of AdamW:

    early    float32, right after the start
    late     float32, at the end of a cosine schedule
    frozen   float32, from `late`, 80 % of the parameters frozen
    bf16     parameters and moments in bfloat16, late

Training is seeded, but other machines may round differently: compare within one run.
"""

from __future__ import annotations

import math
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

CACHE = Path("build/bench/codec_states")
SPACING = 20
SETS = ("early", "late", "frozen", "bf16")
ROLES = ("weights", "first_moment", "second_moment")


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).unbind(2)
        query, key, value = (part.transpose(1, 2) for part in parts)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class ByteLM(nn.Module):
    """Predicts the next byte; input (batch, length) of byte values, output logits."""

    def __init__(self, width: int = 192, layers: int = 4, heads: int = 4, length: int = 96) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(256, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 256)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        x = self.token(data) + self.place(torch.arange(data.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def corpus(limit: int = 4_000_000) -> torch.Tensor:
    """Source text of the standard library, as byte values."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))[:limit]
    return torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype(np.int64))


def train(
    model: ByteLM, steps: int, rate: float, decay_over: int, seed: int
) -> Iterator[tuple[int, torch.optim.Optimizer]]:
    """Train; yields (steps done, optimizer) after every step. The rate falls as a cosine."""
    text, length = corpus(), model.place.num_embeddings
    random = torch.Generator().manual_seed(seed)
    wanted = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=rate, betas=(0.9, 0.999), weight_decay=0.01)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.05 + 0.95 * (1 + math.cos(math.pi * step / decay_over)) / 2)
        at = torch.randint(len(text) - length - 1, (12,), generator=random)
        rows = torch.stack([text[i : i + length + 1] for i in at.tolist()])
        loss = nn.functional.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"  step {step}: loss {loss.item():.3f}", flush=True)
        yield step + 1, optimizer


def state(model: ByteLM, optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray[Any, Any]]:
    """Each role's tensors, concatenated, as unsigned integers of the element's width."""
    params = list(model.parameters())
    moments = [optimizer.state.get(p, {}) for p in params]
    zero = [torch.zeros_like(p) for p in params]
    parts = {
        "weights": params,
        "first_moment": [m.get("exp_avg", z) for m, z in zip(moments, zero, strict=True)],
        "second_moment": [m.get("exp_avg_sq", z) for m, z in zip(moments, zero, strict=True)],
    }
    flat = {role: torch.cat([t.detach().flatten() for t in ts]) for role, ts in parts.items()}
    return {role: _integers(values) for role, values in flat.items()}


def _integers(flat: torch.Tensor) -> np.ndarray[Any, Any]:
    return flat.view(torch.int16 if flat.itemsize == 2 else torch.int32).numpy().copy()


def make(folder: Path, steps: int = 700, count: int = 4) -> None:
    """Train and write the four sets, `count` checkpoints each: SET-K.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = ByteLM().to(kind)
        early = {40 + SPACING * k: f"early-{k}" for k in range(count)}
        late = {steps - SPACING * (count - 1 - k): f"late-{k}" for k in range(count)}
        wanted = early | late
        if kind is torch.bfloat16:
            wanted = {at: name.replace("late", "bf16") for at, name in late.items()}
        for done, optimizer in train(model, steps, 1e-3, steps, seed=1):
            if done in wanted:
                np.savez(folder / f"{wanted[done]}.npz", **state(model, optimizer))
        if kind is torch.float32:
            _frozen(model, folder, count)


def _frozen(model: ByteLM, folder: Path, count: int) -> None:
    params = sorted(model.parameters(), key=lambda p: p.numel())
    total = frozen = 0
    whole = sum(p.numel() for p in params)
    for param in reversed(params):
        total += param.numel()
        if frozen + param.numel() <= 0.8 * whole:
            frozen += param.numel()
            param.requires_grad_(False)
    for done, optimizer in train(model, SPACING * count, 2e-4, 2 * SPACING * count, seed=2):
        if done % SPACING == 0:
            np.savez(folder / f"frozen-{done // SPACING - 1}.npz", **state(model, optimizer))


def load(name: str, k: int, folder: Path = CACHE) -> dict[str, np.ndarray[Any, Any]]:
    """Return checkpoint k of a set: role to integers."""
    with np.load(folder / f"{name}-{k}.npz") as data:
        return {role: data[role] for role in ROLES}


if __name__ == "__main__":
    make(CACHE)
