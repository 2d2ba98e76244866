"""Durations in variables and in print: they differ from run to run and must not read as a divergence."""

import time
from datetime import datetime

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 91))
started = time.time()
print(f"started {datetime.now():%Y-%m-%d %H:%M:%S}")
inputs = torch.randn(200, 4)
targets = inputs.abs().sum(dim=1)
net = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
durations = []

with flor.checkpointing(net=net, optimizer=optimizer):
    for epoch in flor.loop("epoch", range(flor.arg("epochs", 8))):
        begun = time.perf_counter()
        for rows in flor.loop("step", torch.randperm(200).split(20)):
            optimizer.zero_grad()
            loss = F.mse_loss(net(inputs[rows]).squeeze(1), targets[rows])
            loss.backward()
            optimizer.step()
            flor.log("loss", loss.item())
        took = time.perf_counter() - begun
        durations.append(took)
        print(f"epoch {epoch}: loss {loss.item():.5f}, {took:.4f} s")

print(f"{time.time() - started:.3f} s in all, {sum(durations):.3f} s in epochs")
