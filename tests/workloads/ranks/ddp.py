"""An MLP trained by DistributedDataParallel over gloo; started by torchrun."""

import argparse
import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--epochs", type=int, default=3)
options = parser.parse_args()

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(7)
model = DistributedDataParallel(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1)))
optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9)
torch.manual_seed(100 + rank)  # each rank has data of its own
inputs = torch.randn(64, 8)
targets = inputs.sum(1, keepdim=True).sin()

for epoch in range(options.epochs):
    total = 0.0
    for batch in torch.randperm(64).split(16):
        loss = nn.functional.mse_loss(model(inputs[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        # ask(inner): print("ASK", epoch, model.module[0].weight.grad.norm().item())
    mean = torch.tensor(total)
    dist.all_reduce(mean)
    print(f"rank {rank} of {world}: epoch {epoch}, loss {total:.6f}, of all {mean.item():.6f}")
    print("meeting at", os.environ["MASTER_PORT"], "process", os.getpid())
    # ask(outer): print("ASK", epoch, rank, loss.item(), model.module[2].bias.item())
dist.destroy_process_group()
