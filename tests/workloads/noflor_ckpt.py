"""flor.log and flor.loop alone, without flor.checkpointing: replay re-executes, and is still exact."""

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 121))
inputs = torch.randn(240, 5)
targets = (inputs**2).sum(dim=1)
net = nn.Sequential(nn.Linear(5, 32), nn.ReLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)

for epoch in flor.loop("epoch", range(flor.arg("epochs", 6))):
    for rows in flor.loop("step", torch.randperm(240).split(24)):
        optimizer.zero_grad()
        loss = F.mse_loss(net(inputs[rows]).squeeze(1), targets[rows])
        loss.backward()
        optimizer.step()
        flor.log("loss", loss.item())
    flor.log("epoch_loss", loss.item())
