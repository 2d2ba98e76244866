"""A byte-level language model on the standard library's own text: one loop of steps, gradient accumulation."""

import email
import json
from pathlib import Path

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(2)
torch.manual_seed(flor.arg("seed", 5))
steps = flor.arg("steps", 24)
accumulate = flor.arg("accumulate", 3)
length, batch = 48, 8

files = sorted(Path(json.__file__).parent.glob("*.py")) + sorted(
    Path(email.__file__).parent.glob("*.py")
)
text = torch.tensor(list(b"".join(path.read_bytes() for path in files)))


class ByteModel(nn.Module):
    def __init__(self, width=48, heads=4, layers=2):
        super().__init__()
        self.embed = nn.Embedding(256, width)
        self.position = nn.Parameter(torch.zeros(length, width))
        block = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.1, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.head = nn.Linear(width, 256)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(length))

    def forward(self, tokens):
        hidden = self.embed(tokens) + self.position
        return self.head(self.blocks(hidden, mask=self.mask, is_causal=True))


def batches(count):
    """`count` random windows of the text with their next bytes."""
    for _ in range(count):
        starts = torch.randint(0, len(text) - length - 1, (batch,)).tolist()
        windows = torch.stack([text[start : start + length + 1] for start in starts])
        yield windows[:, :-1], windows[:, 1:]


model = ByteModel()
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))
seen = 0

with flor.checkpointing(model=model, optimizer=optimizer, warmup=warmup):
    for step in flor.loop("step", range(steps)):
        optimizer.zero_grad()
        total = 0.0
        for tokens, wanted in flor.loop("micro", batches(accumulate)):
            logits = model(tokens)
            loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten())
            (loss / accumulate).backward()
            total += loss.item() / accumulate
            seen += tokens.numel()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        warmup.step()
        flor.log("loss", total)
        flor.log("grad_norm", norm.item())

print(f"{seen} bytes seen")
