"""An MLP with Adam, a learning-rate schedule and dropout: regression on generated data."""

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 11))
epochs = flor.arg("epochs", 8)
batch_size = flor.arg("batch_size", 50)

inputs = torch.randn(flor.arg("rows", 2000), 20)
targets = torch.sin(inputs[:, :5].sum(dim=1)) + 0.1 * torch.randn(len(inputs))

net = nn.Sequential(
    nn.Linear(20, 128),
    nn.ReLU(),
    nn.Dropout(0.2),
    nn.Linear(128, 128),
    nn.Tanh(),
    nn.Linear(128, 1),
)
optimizer = torch.optim.Adam(net.parameters(), lr=flor.arg("lr", 2e-3))
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)
history = []

with flor.checkpointing(net=net, optimizer=optimizer, scheduler=scheduler):
    for epoch in flor.loop("epoch", range(epochs)):
        total = 0.0
        order = torch.randperm(len(inputs))
        for rows in flor.loop("step", order.split(batch_size)):
            optimizer.zero_grad()
            loss = F.mse_loss(net(inputs[rows]).squeeze(1), targets[rows])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(rows)
            flor.log("loss", loss.item())
        scheduler.step()
        history.append(total / len(inputs))
        flor.log("epoch_loss", history[-1])
        flor.log("lr", optimizer.param_groups[0]["lr"])

print(f"final loss {history[-1]:.6f}, best {min(history):.6f}")
