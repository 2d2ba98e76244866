"""One long loop of steps over a live iterator of batches, a GRU, and its hidden state carried on."""

import itertools
import json
from pathlib import Path

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 15))
steps = flor.arg("steps", 60)
length, rows = 24, 6

text = torch.tensor(
    list(b"".join(path.read_bytes() for path in sorted(Path(json.__file__).parent.glob("*.py"))))
)
usable = len(text) // rows * rows
streams = text[:usable].view(rows, -1)
offsets = range(0, streams.shape[1] - length - 1, length)
feed = itertools.cycle(offsets)

embed = nn.Embedding(256, 32)
cell = nn.GRU(32, 64, batch_first=True)
head = nn.Linear(64, 256)
parameters = [*embed.parameters(), *cell.parameters(), *head.parameters()]
optimizer = torch.optim.Adagrad(parameters, lr=0.05)
hidden = torch.zeros(1, rows, 64)

with flor.checkpointing(embed=embed, cell=cell, head=head, optimizer=optimizer):
    for step, start in zip(flor.loop("step", range(steps)), feed):
        tokens = streams[:, start : start + length]
        wanted = streams[:, start + 1 : start + length + 1]
        output, hidden = cell(embed(tokens), hidden)
        loss = F.cross_entropy(head(output).flatten(0, 1), wanted.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hidden = hidden.detach()
        flor.log("loss", loss.item())
        if step % 10 == 9:
            flor.log("hidden_norm", hidden.norm().item())
