"""LBFGS, whose step calls a closure: state that no state_dict holds in full, and logging inside the closure."""

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 111))
inputs = torch.randn(200, 6, dtype=torch.float64)
targets = torch.cos(inputs.sum(dim=1))
net = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)).double()
optimizer = torch.optim.LBFGS(net.parameters(), lr=0.5, max_iter=4, history_size=6)
calls = 0

with flor.checkpointing(net=net, optimizer=optimizer):
    for epoch in flor.loop("epoch", range(flor.arg("epochs", 8))):
        for rows in flor.loop("step", torch.randperm(200).split(50)):

            def closure():
                global calls
                calls += 1
                optimizer.zero_grad()
                loss = F.mse_loss(net(inputs[rows]).squeeze(1), targets[rows])
                loss.backward()
                return loss

            flor.log("loss", optimizer.step(closure).item())
        flor.log("calls", calls)
