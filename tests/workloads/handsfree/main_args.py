"""Functions called from main(args), an exit code of its own."""

import argparse
import sys

import torch
from torch import nn


def batches(count, size):
    return torch.randperm(count).split(size)


def train_epoch(net, optimizer, data, args):
    net.train()
    seen = 0.0
    for rows in batches(len(data[0]), args.batch):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(data[0][rows]), data[1][rows])
        loss.backward()
        # ask(inner): print("ASK", len(rows), loss.item(), [p.grad.sum().item() for p in net.parameters()])
        optimizer.step()
        seen += loss.item() * len(rows)
    return seen / len(data[0])


@torch.no_grad()
def evaluate(net, data):
    net.eval()
    right = 0
    for rows in torch.arange(len(data[0])).split(32):
        right += (net(data[0][rows]).argmax(1) == data[1][rows]).sum().item()
    # ask(function): print("ASK", right, net[2].bias.tolist())
    return right / len(data[0])


def main(args):
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    inputs = torch.randn(120, 6)
    data = inputs, (inputs.sum(1) > 0).long()
    net = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=args.lr, momentum=0.9)
    best = 0.0
    for epoch in range(1, args.epochs + 1):
        loss = train_epoch(net, optimizer, data, args)
        accuracy = evaluate(net, data)
        best = max(best, accuracy)
        # ask(outer): print("ASK", epoch, best, optimizer.state[net[0].weight]["momentum_buffer"].sum().item())
        print(f"epoch {epoch}: loss {loss:.6f}, accuracy {accuracy:.4f}")
    return 0 if best > 0.5 else 4


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=30)
    parser.add_argument("--lr", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=3)
    sys.exit(main(parser.parse_args()))
