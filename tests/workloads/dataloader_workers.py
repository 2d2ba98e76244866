"""A DataLoader with two worker processes and random transforms inside them."""

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.utils.data import DataLoader, Dataset


class Noisy(Dataset):
    """Points whose features are jittered anew each time they are fetched."""

    def __init__(self, count):
        generator = torch.Generator().manual_seed(1)
        self.points = torch.randn(count, 6, generator=generator)
        self.labels = (self.points[:, 0] > 0).long()

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return self.points[index] + 0.1 * torch.randn(6), self.labels[index]


def main():
    torch.set_num_threads(1)
    torch.manual_seed(flor.arg("seed", 101))
    loader = DataLoader(Noisy(160), batch_size=20, shuffle=True, num_workers=2)
    net = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with flor.checkpointing(net=net, optimizer=optimizer):
        for epoch in flor.loop("epoch", range(flor.arg("epochs", 5))):
            for points, labels in flor.loop("step", loader):
                optimizer.zero_grad()
                loss = F.cross_entropy(net(points), labels)
                loss.backward()
                optimizer.step()
                flor.log("loss", loss.item())
            flor.log("first_weight", net[0].weight[0].tolist())


if __name__ == "__main__":
    main()
