"""What is trained in benchmarks: a byte-level language model of the source of Python's library.

Seeded, but other machines may round differently: compare within one run. Imports torch.
"""

from __future__ import annotations

import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn


@dataclass(frozen=True)
class Size:
    """Of a model and its batches: width and layers, sequences of a batch and their length."""

    width: int
    layers: int
    rows: int
    length: int


QUICK = Size(width=64, layers=2, rows=2, length=32)  # 0.1 M parameters
SMALL = Size(width=192, layers=4, rows=12, length=96)  # 1.9 M
LARGE = Size(width=512, layers=10, rows=2, length=48)  # 31.8 M: 381 MB with AdamW's moments


class Block(nn.Module):  # type: ignore[misc]
    """A layer of a transformer: attention to what came before, then two linear layers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, length, width) to the same shape."""
        batch, length, width = x.shape
        parts = self.qkv(self.norm1(x)).view(batch, length, 3, self.heads, -1).unbind(2)
        query, key, value = (part.transpose(1, 2) for part in parts)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(nn.functional.gelu(self.up(self.norm2(x))))


class ByteLM(nn.Module):  # type: ignore[misc]
    """Predicts the next byte; input (batch, length) of byte values, output logits."""

    def __init__(self, size: Size, heads: int = 4) -> None:
        super().__init__()
        width = size.width
        self.token, self.place = nn.Embedding(256, width), nn.Embedding(size.length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(size.layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 256)

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        """Return the logits of the byte that follows each."""
        x = self.token(data) + self.place(torch.arange(data.shape[1]))
        for block in self.blocks:
            x = block(x)
        return cast(torch.Tensor, self.head(self.norm(x)))


@cache
def corpus(limit: int = 4_000_000) -> torch.Tensor:
    """Return source text of the standard library, as byte values."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py")))[:limit]
    return torch.from_numpy(np.frombuffer(text, dtype=np.uint8).astype(np.int64))


class Training:
    """A model, its AdamW and its batches; :meth:`step` is one iteration."""

    def __init__(
        self, size: Size, *, seed: int = 0, rate: float = 1e-3, dtype: torch.dtype = torch.float32
    ) -> None:
        if size == QUICK:  # threads would only wait for each other
            torch.set_num_threads(1)
        torch.manual_seed(seed)
        self.size = size
        self.model = ByteLM(size).to(dtype)
        self.batches = torch.Generator().manual_seed(seed + 1)
        self.optimize(rate)

    def optimize(self, rate: float) -> None:
        """Begin a new optimizer over the parameters that are not frozen."""
        wanted = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(wanted, lr=rate, betas=(0.9, 0.999), weight_decay=0.01)

    def step(self) -> float:
        """Train on one batch; return its loss."""
        text, length = corpus(), self.size.length
        at = torch.randint(len(text) - length - 1, (self.size.rows,), generator=self.batches)
        rows = torch.stack([text[i : i + length + 1] for i in at.tolist()])
        logits = self.model(rows[:, :-1])
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # a state dict does not have gradients either
        return float(loss.item())

    def objects(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"model": self.model, "optimizer": self.optimizer}

    def state(self) -> dict[str, Any]:
        """Return the state dicts, as a user saves them."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}


def flat(state: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return the tensors of nested dicts and lists by dotted names, for formats without nesting."""
    found: dict[str, torch.Tensor] = {}
    todo: list[tuple[str, Any]] = [("", state)]
    while todo:
        name, value = todo.pop()
        if isinstance(value, torch.Tensor):
            found[name] = value
        elif isinstance(value, dict):
            todo += [(f"{name}.{key}".lstrip("."), part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            todo += [(f"{name}.{i}", part) for i, part in enumerate(value)]
    return dict(sorted(found.items()))
