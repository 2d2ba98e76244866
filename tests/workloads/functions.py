"""Loops inside functions and methods: a Trainer class, train and validate with loops of one name."""

import argparse

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F


class Trainer:
    def __init__(self, options, inputs, labels):
        self.options = options
        self.inputs, self.labels = inputs, labels
        self.net = nn.Sequential(nn.Linear(6, 40), nn.GELU(), nn.Dropout(0.1), nn.Linear(40, 2))
        self.optimizer = torch.optim.NAdam(self.net.parameters(), lr=options.lr)
        self.seen = 0
        self.history = {"train": [], "valid": []}

    def loss_of(self, rows):
        return F.cross_entropy(self.net(self.inputs[rows]), self.labels[rows])

    def train_epoch(self):
        self.net.train()
        total = 0.0
        for rows in flor.loop("batch", torch.randperm(400).split(self.options.batch)):
            self.optimizer.zero_grad()
            loss = self.loss_of(rows)
            loss.backward()
            self.optimizer.step()
            self.seen += len(rows)
            total += flor.log("loss", loss.item())
        self.history["train"].append(total)

    @torch.no_grad()
    def validate(self):
        self.net.eval()
        losses = []
        for rows in flor.loop("batch", torch.arange(400, 500).split(25)):
            losses.append(self.loss_of(rows).item())
        self.history["valid"].append(sum(losses) / len(losses))
        return self.history["valid"][-1]

    def fit(self):
        with flor.checkpointing(trainer=self):
            for epoch in flor.loop("epoch", range(self.options.epochs)):
                self.train_epoch()
                flor.log("valid", self.validate())
                flor.log("seen", self.seen)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--lr", type=float, default=0.01)
    options = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(flor.arg("seed", 51))
    inputs = torch.randn(500, 6)
    labels = (inputs[:, 0] > inputs[:, 1]).long()
    trainer = Trainer(options, inputs, labels)
    trainer.fit()
    print("validation:", " ".join(f"{loss:.4f}" for loss in trainer.history["valid"]))


if __name__ == "__main__":
    main()
