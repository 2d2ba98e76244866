"""A small net trained by two processes of torch.multiprocessing.spawn, averaged over gloo."""

import argparse
import os
import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn


def train(rank, world, port, lr):
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = "127.0.0.1", str(port)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    torch.manual_seed(5 + rank)
    net = nn.Linear(6, 1)
    inputs = torch.randn(40, 6)
    targets = inputs.prod(1, keepdim=True)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for epoch in range(3):
        for first in range(0, 40, 10):
            batch = slice(first, first + 10)
            loss = nn.functional.mse_loss(net(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            for weight in net.parameters():
                dist.all_reduce(weight.grad)
            optimizer.step()
            # ask(inner): print("ASK", first, net.weight.grad.abs().sum().item())
        print(f"process {rank}, epoch {epoch}: {loss.item():.9f}")
        # ask(outer): print("ASK", epoch, net.weight.tolist())
    dist.destroy_process_group()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(train, args=(2, port, options.lr), nprocs=2)
    print("done")
    # ask(after): print("ASK", options.lr)
