"""A program that draws from every kind of generator at each step, so that one draw too many shows.

``# ask(NAME)`` marks where ``test_protection.py`` adds its statements. With ``loops`` the program
calls flor.loop, without it is one that does not know flor.
"""

import random

import numpy as np
import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
np.random.seed(1)
random.seed(2)
rng = np.random.default_rng(3)
shuffler = torch.Generator().manual_seed(4)
inputs = torch.randn(96, 8)
wanted = inputs.pow(2).sum(1, keepdim=True)
net = nn.Sequential(
    nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1)
)
optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)


class Noise:
    def __init__(self):
        self.own = random.Random(5)

    def draw(self):
        return self.own.gauss(0, 1)


noise = Noise()


def evaluate():
    net.eval()
    with torch.no_grad():
        return nn.functional.mse_loss(net(inputs), wanted).item()


for epoch in range(4):
    net.train()
    total = 0.0
    for step, rows in enumerate(torch.randperm(96, generator=shuffler).split(24)):
        # ask(before)
        batch = inputs[rows] + 0.01 * float(rng.normal())
        # ask(library)
        loss = nn.functional.mse_loss(net(batch), wanted[rows]) * (1 + 0.01 * noise.draw())
        # ask(between)
        loss.backward()
        # ask(forward)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        # ask(backward)
        optimizer.step()
        # ask(own)
        optimizer.zero_grad()
        total += loss.item() + random.random() * 1e-3 + np.random.normal() * 1e-3
    print(f"epoch {epoch} loss {total:.9f}")
    # ask(outer)
    print(f"norm {sum(p.norm().item() for p in net.parameters()):.9f}")
    # ask(evaluate)
