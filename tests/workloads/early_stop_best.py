"""Early stopping: the best state kept by deepcopy and restored after the loop, an EMA copy, groups held in a list."""

import copy

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_iris

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 21))
iris = load_iris()
inputs = torch.tensor(iris.data, dtype=torch.float32)
inputs = (inputs - inputs.mean(dim=0)) / inputs.std(dim=0)
labels = torch.tensor(iris.target)
order = torch.randperm(len(inputs))
train, valid = order[:100], order[100:]

net = nn.Sequential(nn.Linear(4, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 3))
ema = copy.deepcopy(net)
optimizer = torch.optim.SGD(
    [
        {"params": net[0].parameters(), "lr": 0.02},
        {"params": [*net[1].parameters(), *net[3].parameters()]},
    ],
    lr=0.1,
    momentum=0.9,
)
groups = [group for group in optimizer.param_groups]
best_loss, best_state, best_epoch, waited = float("inf"), None, -1, 0

with flor.checkpointing(net=net, ema=ema, optimizer=optimizer):
    for epoch in flor.loop("epoch", range(flor.arg("epochs", 40))):
        net.train()
        for rows in flor.loop("step", train[torch.randperm(len(train))].split(10)):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(inputs[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(ema.parameters(), net.parameters()):
                    slow.lerp_(fast, 0.1)
            flor.log("loss", loss.item())
        net.eval()
        with torch.no_grad():
            valid_loss = F.cross_entropy(net(inputs[valid]), labels[valid]).item()
        flor.log("valid_loss", valid_loss)
        if valid_loss < best_loss:
            best_loss, best_epoch, waited = valid_loss, epoch, 0
            best_state = copy.deepcopy(net.state_dict())
        else:
            waited += 1
            for group in groups:
                group["lr"] *= 0.7
        if waited >= flor.arg("patience", 5):
            print(f"stopped after epoch {epoch}")
            break

net.load_state_dict(best_state)
net.eval()
with torch.no_grad():
    final = F.cross_entropy(net(inputs[valid]), labels[valid]).item()
    averaged = F.cross_entropy(ema(inputs[valid]), labels[valid]).item()
flor.log("best", {"epoch": best_epoch, "loss": best_loss, "again": final, "ema": averaged})
