"""A common bug, kept on purpose: `best` aliases the live tensors, so that "restoring" it restores nothing."""

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 41))
inputs = torch.randn(300, 8)
labels = (inputs.sum(dim=1) > 0).float()

net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 1))
optimizer = torch.optim.SGD(net.parameters(), lr=0.3, momentum=0.8)
best_loss, best = float("inf"), None

with flor.checkpointing(net=net, optimizer=optimizer):
    for epoch in flor.loop("epoch", range(flor.arg("epochs", 10))):
        total = 0.0
        for rows in flor.loop("step", torch.randperm(300).split(25)):
            optimizer.zero_grad()
            loss = F.binary_cross_entropy_with_logits(net(inputs[rows]).squeeze(1), labels[rows])
            loss.backward()
            optimizer.step()
            total += loss.item()
            flor.log("loss", loss.item())
        if total < best_loss:
            best_loss = total
            best = net.state_dict()  # no clone: these are the live tensors
        if epoch == 6:
            net.load_state_dict(best)
        drift = sum(
            (best[name] - value).abs().sum().item() for name, value in net.state_dict().items()
        )
        flor.log("drift", drift)

flor.log(
    "same_memory",
    all(best[name].data_ptr() == value.data_ptr() for name, value in net.state_dict().items()),
)
