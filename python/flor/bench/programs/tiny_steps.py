"""Steps of a fraction of a millisecond, a number logged at each."""

import torch
from torch import nn

import flor

torch.manual_seed(0)
torch.set_num_threads(1)
epochs = flor.arg("epochs", 4)
net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
inputs, targets = torch.randn(4096, 64), torch.randint(0, 10, (4096,))

with flor.checkpointing(net=net, optimizer=optimizer):
    for _ in flor.loop("epoch", range(epochs)):
        order = torch.randperm(len(inputs))
        for batch in flor.loop("step", order.split(16)):
            loss = nn.functional.cross_entropy(net(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            flor.log("loss", loss.item())
        flor.log("accuracy", (net(inputs).argmax(1) == targets).float().mean().item())
