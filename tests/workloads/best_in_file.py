"""The best state lives in a file: written in the loop, read back in the loop and after it."""

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 31))
inputs = torch.randn(400, 10)
labels = (inputs[:, 0] * inputs[:, 1] > 0).long()
train, valid = slice(0, 300), slice(300, 400)

net = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 2))
optimizer = torch.optim.AdamW(net.parameters(), lr=0.05)
best = float("inf")

with flor.checkpointing(net=net, optimizer=optimizer):
    for epoch in flor.loop("epoch", range(flor.arg("epochs", 12))):
        for rows in flor.loop("step", torch.randperm(300).split(30)):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(inputs[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            flor.log("loss", loss.item())
        with torch.no_grad():
            valid_loss = F.cross_entropy(net(inputs[valid]), labels[valid]).item()
        flor.log("valid_loss", valid_loss)
        if valid_loss < best:
            best = valid_loss
            torch.save(net.state_dict(), "best.pt")
        else:
            net.load_state_dict(torch.load("best.pt"))
            flor.log("rewound", epoch)

net.load_state_dict(torch.load("best.pt"))
with torch.no_grad():
    flor.log("final", F.cross_entropy(net(inputs[valid]), labels[valid]).item())
