"""Train a small convolutional network on scikit-learn's handwritten digits.

Run it as it is, ``python digits.py``: the run is recorded. Nothing below was written with a later
question in mind.
"""

from collections import OrderedDict

import flor
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

CLASSES = 10


def load_data(seed, shifts):
    """The digits as images in [0, 1], the training half enlarged by copies shifted by one pixel."""
    digits = load_digits()
    images, labels = (digits.images / 16.0).astype(np.float32)[:, None], digits.target
    split = train_test_split(images, labels, test_size=0.25, random_state=seed, stratify=labels)
    train_x, test_x, train_y, test_y = (torch.as_tensor(part) for part in split)
    moves = [(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)][: shifts + 1]
    shifted = [torch.roll(train_x, move, dims=(2, 3)) for move in moves]
    return torch.cat(shifted), train_y.repeat(len(moves)), test_x, test_y


def make_network(width, dropout):
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, width, 3, padding=1),
            norm1=nn.BatchNorm2d(width),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(width, 2 * width, 3, padding=1),
            norm2=nn.BatchNorm2d(2 * width),
            relu2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            flat=nn.Flatten(),
            drop=nn.Dropout(dropout),
            hidden=nn.Linear(2 * width * 16, 64),
            relu3=nn.ReLU(),
            output=nn.Linear(64, CLASSES),
        )
    )


@torch.no_grad()
def predict(net, images):
    net.eval()
    guesses = net(images).argmax(dim=1)
    net.train()
    return guesses


def train():
    seed = flor.arg("seed", 7)
    epochs = flor.arg("epochs", 20)
    batch_size = flor.arg("batch_size", 64)
    torch.manual_seed(seed)
    torch.set_num_threads(1)

    train_x, train_y, test_x, test_y = load_data(seed, flor.arg("shifts", 4))
    net = make_network(flor.arg("width", 32), flor.arg("dropout", 0.3))
    optimizer = torch.optim.SGD(net.parameters(), lr=flor.arg("lr", 0.05), momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)

    with flor.checkpointing(net=net, optimizer=optimizer, scheduler=scheduler):
        for epoch in flor.loop("epoch", range(epochs)):
            order = torch.randperm(len(train_x))
            for batch in flor.loop("step", order.split(batch_size)):
                optimizer.zero_grad()
                loss = F.cross_entropy(net(train_x[batch]), train_y[batch])
                loss.backward()
                optimizer.step()
                flor.log("loss", loss.item())
            scheduler.step()
            guesses = predict(net, test_x)
            flor.log("accuracy", (guesses == test_y).float().mean().item())


if __name__ == "__main__":
    train()
