"""Loops at module level, a scheduler, gradient accumulation."""

import torch
from torch import nn

torch.manual_seed(0)
torch.set_num_threads(1)
inputs = torch.randn(96, 8)
wanted = inputs.pow(2).sum(1, keepdim=True)
net = nn.Sequential(
    nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1)
)
optimizer = torch.optim.AdamW(net.parameters(), lr=0.01)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6)
history = []

for epoch in range(6):
    net.train()
    total = 0.0
    for step, rows in enumerate(torch.randperm(96).split(16)):
        loss = nn.functional.mse_loss(net(inputs[rows]), wanted[rows])
        (loss / 2).backward()
        # ask(inner): print("ASK", step, net[0].weight.grad.norm().item())
        if step % 2:
            optimizer.step()
            optimizer.zero_grad()
        total += loss.item()
    scheduler.step()
    history.append(total)
    # ask(outer): print("ASK", epoch, net[1].running_mean.tolist(), scheduler.get_last_lr())
    print(f"epoch {epoch} loss {total:.6f}")

# ask(after): print("ASK", history, [p.sum().item() for p in net.parameters()])
print("done", len(history))
