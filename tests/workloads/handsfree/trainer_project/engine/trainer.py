import torch
from torch.nn.functional import mse_loss


class Printer:
    def on_epoch(self, epoch, steps, loss):
        # ask(callback): print("ASK", epoch, steps)
        print(f"epoch {epoch} valid {loss:.6f}")


class Trainer:
    def __init__(self, net, callbacks=()):
        self.net = net
        self.optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
        self.callbacks = list(callbacks)
        self.best, self.epoch, self.steps = float("inf"), -1, 0

    def fit(self, train, valid, epochs):
        for self.epoch in range(epochs):
            self.train_epoch(*train)
            loss = self.validate(*valid)
            self.best = min(self.best, loss)
            # ask(outer): print("ASK", self.steps, self.net[0].bias.tolist())
            for callback in self.callbacks:
                callback.on_epoch(self.epoch, self.steps, loss)

    def train_epoch(self, inputs, wanted):
        self.net.train()
        for rows in torch.randperm(len(inputs)).split(12):
            self.optimizer.zero_grad()
            loss = mse_loss(self.net(inputs[rows])[:, 0], wanted[rows])
            loss.backward()
            # ask(inner): print("ASK", self.steps, rows.tolist(), self.net[0].weight.grad.norm().item())
            self.optimizer.step()
            self.steps += 1
        # ask(method): print("ASK", self.epoch, self.net[2].weight.tolist())

    def validate(self, inputs, wanted):
        self.net.eval()
        with torch.no_grad():
            return mse_loss(self.net(inputs)[:, 0], wanted).item()
