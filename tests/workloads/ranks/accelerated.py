"""A linear model prepared by Accelerate; `accelerate launch` starts the ranks."""

import argparse

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
options = parser.parse_args()
accelerator = Accelerator(cpu=True)
torch.manual_seed(3)
inputs = torch.randn(32, 4)
data = DataLoader(TensorDataset(inputs, inputs.sum(1, keepdim=True)), batch_size=8, shuffle=True)
model = nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=options.lr)
model, optimizer, data = accelerator.prepare(model, optimizer, data)
for epoch in range(3):
    for x, y in data:
        loss = nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        # ask(inner): print("ASK", epoch, x.sum().item(), loss.item())
    print(f"rank {accelerator.process_index}: {epoch} {loss.item():.9f}")
    # ask(outer): print("ASK", epoch, [p.norm().item() for p in model.parameters()])
accelerator.end_training()
