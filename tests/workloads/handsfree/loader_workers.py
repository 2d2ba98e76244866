"""A DataLoader with workers and random transforms in them."""

import random

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        noise = torch.randn(4) * 0.1 + random.random()
        return torch.full((4,), float(index)) / 24 + noise, float(index % 3)


def main():
    torch.manual_seed(13)
    torch.set_num_threads(1)
    loader = DataLoader(Noisy(), batch_size=6, shuffle=True, num_workers=2)
    net = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
    for epoch in range(3):
        for number, (batch, wanted) in enumerate(loader):
            optimizer.zero_grad()
            loss = (net(batch)[:, 0] - wanted).pow(2).mean()
            loss.backward()
            # ask(inner): print("ASK", number, batch.sum().item(), net.weight.grad.tolist())
            optimizer.step()
        # ask(outer): print("ASK", epoch, net.weight.tolist())
        print("epoch", epoch, "loss", round(loss.item(), 6))


if __name__ == "__main__":
    main()
