"""Fifty epochs of an MLP, each long enough that checkpoints are dense: the partial-replay check counts its steps."""

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 131))
inputs = torch.randn(1600, 32)
targets = torch.sin(inputs).sum(dim=1)
net = nn.Sequential(
    nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1)
)
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

with flor.checkpointing(net=net, optimizer=optimizer):
    for epoch in flor.loop("epoch", range(flor.arg("epochs", 50))):
        for rows in flor.loop("step", torch.randperm(1600).split(16)):
            optimizer.zero_grad()
            loss = F.mse_loss(net(inputs[rows]).squeeze(1), targets[rows])
            loss.backward()
            optimizer.step()
            flor.log("loss", loss.item())
        flor.log("epoch_loss", loss.item())
