"""A convolutional network on scikit-learn's digits: batch norm, augmentation, validation."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def build(width):
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(2 * width * 16, 10),
    )


class Trainer:
    def __init__(self, args):
        digits = load_digits()
        images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16
        labels = torch.tensor(digits.target)
        self.train_set = DataLoader(TensorDataset(images[300:], labels[300:]), 64, shuffle=True)
        self.test_set = DataLoader(TensorDataset(images[:300], labels[:300]), 100)
        self.model = build(args.width)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05, momentum=0.9)
        self.best, self.history = 0.0, []

    def train(self):
        self.model.train()
        for images, labels in self.train_set:
            images = images + 0.05 * torch.randn_like(images)
            loss = nn.functional.cross_entropy(self.model(images), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            # ask(inner): print("ASK", float(self.model[0].weight.grad.norm()))
            self.history.append(loss.item())

    @torch.no_grad()
    def validate(self):
        self.model.eval()
        right = sum(
            int((self.model(images).argmax(1) == labels).sum()) for images, labels in self.test_set
        )
        self.best = max(self.best, right / 300)
        return right / 300

    def fit(self, epochs):
        for epoch in range(epochs):
            self.train()
            accuracy = self.validate()
            # ask(outer): print("ASK", epoch, float(self.model[0].weight.norm()))
            print(f"epoch {epoch}: accuracy {accuracy:.3f}, best {self.best:.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--width", type=int, default=16)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(2)
    Trainer(arguments).fit(arguments.epochs)
