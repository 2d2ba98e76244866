"""PyTorch Ignite: a trainer, and an evaluator that one of its handlers runs."""

import torch
from ignite.engine import Engine, Events
from torch import nn

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
inputs = torch.randn(64, 4)
targets = inputs.square().sum(1, keepdim=True)
batches = list(zip(inputs.split(16), targets.split(16)))


def train_step(engine, batch):
    x, y = batch
    optimizer.zero_grad()
    loss = nn.functional.mse_loss(model(x + 0.1 * torch.randn_like(x)), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def evaluate(engine, batch):
    with torch.no_grad():
        return nn.functional.mse_loss(model(batch[0]), batch[1]).item()


trainer = Engine(train_step)
evaluator = Engine(evaluate)


@trainer.on(Events.EPOCH_COMPLETED)
def validate(engine):
    evaluator.run(batches)
    print("epoch", engine.state.epoch, "loss", engine.state.output, "valid", evaluator.state.output)


trainer.run(batches, max_epochs=3)
print("done after", trainer.state.iteration)
