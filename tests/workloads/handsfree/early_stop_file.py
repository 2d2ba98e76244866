"""Early stopping by an exception; the best state in memory and in a file, read back after the loop."""

import copy
import os

import torch
from torch import nn


class Stop(Exception):
    pass


class Patience:
    def __init__(self, limit):
        self.limit, self.bad, self.best = limit, 0, float("inf")

    def seen(self, loss):
        self.bad = 0 if loss < self.best else self.bad + 1
        self.best = min(self.best, loss)
        if self.bad >= self.limit:
            raise Stop(f"{self.bad} bad epochs")
        return self.bad == 0


torch.manual_seed(9)
torch.set_num_threads(1)
inputs = torch.randn(48, 4)
wanted = inputs.sin().sum(1, keepdim=True)
net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.9, momentum=0.8)
patience, kept = Patience(3), None
os.makedirs("out", exist_ok=True)
try:
    for epoch in range(40):
        for rows in torch.randperm(36).split(9):
            optimizer.zero_grad()
            loss = (net(inputs[rows]) - wanted[rows]).pow(2).mean()
            loss.backward()
            # ask(inner): print("ASK", loss.item(), patience.bad)
            optimizer.step()
        with torch.no_grad():
            valid = (net(inputs[36:]) - wanted[36:]).pow(2).mean().item()
        print(f"epoch {epoch} valid {valid:.6f}")
        if patience.seen(valid):
            kept = copy.deepcopy(net.state_dict())
            torch.save(net.state_dict(), "out/best.pt")
        # ask(outer): print("ASK", epoch, torch.load("out/best.pt")["2.bias"].item(), kept["2.bias"].item())
except Stop as stop:
    print("stopped:", stop)
net.load_state_dict(kept)
assert all(torch.equal(value, kept[name]) for name, value in torch.load("out/best.pt").items())
# ask(after): print("ASK", net[0].weight.tolist())
print("final", round((net(inputs) - wanted).pow(2).mean().item(), 6))
