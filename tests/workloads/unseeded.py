"""No seed is set anywhere: every run differs, and replay must still be the run that happened."""

import random

import flor
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
inputs = torch.randn(300, 5)
labels = torch.tensor(np.random.randint(0, 2, 300))
net = nn.Sequential(nn.Linear(5, 24), nn.ReLU(), nn.Dropout(0.3), nn.Linear(24, 2))
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

with flor.checkpointing(net=net, optimizer=optimizer):
    for epoch in flor.loop("epoch", range(flor.arg("epochs", 8))):
        flip = random.random()
        for rows in flor.loop("step", torch.randperm(300).split(30)):
            optimizer.zero_grad()
            noisy = inputs[rows] + 0.1 * torch.tensor(
                np.random.randn(len(rows), 5), dtype=torch.float32
            )
            loss = F.cross_entropy(net(noisy), labels[rows])
            loss.backward()
            optimizer.step()
            flor.log("loss", loss.item())
        flor.log("flip", flip)
