"""Training in pure NumPy in classes, with numbers kept in slots and a generator of batches."""

import numpy as np


class Layer:
    __slots__ = ("bias", "gradients", "inputs", "weight")

    def __init__(self, rng, before, after):
        self.weight = rng.normal(0, before**-0.5, (before, after))
        self.bias = np.zeros(after)
        self.gradients = self.inputs = None

    def __call__(self, inputs):
        self.inputs = inputs
        return inputs @ self.weight + self.bias

    def back(self, gradient):
        self.gradients = self.inputs.T @ gradient, gradient.sum(0)
        return gradient @ self.weight.T

    def step(self, rate):
        self.weight -= rate * self.gradients[0]
        self.bias -= rate * self.gradients[1]


def batches(rng, inputs, wanted, size):
    order = rng.permutation(len(inputs))
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        yield inputs[rows], wanted[rows]


rng = np.random.default_rng(15)
inputs = rng.normal(size=(60, 3))
wanted = np.abs(inputs).sum(1, keepdims=True)
first, second = Layer(rng, 3, 10), Layer(rng, 10, 1)
rate = 0.02
for epoch in range(6):
    total = 0.0
    for batch, goal in batches(rng, inputs, wanted, 12):
        hidden = np.maximum(first(batch), 0)
        error = second(hidden) - goal
        gradient = second.back(error / len(batch)) * (hidden > 0)
        first.back(gradient)
        for layer in (first, second):
            layer.step(rate)
        # ask(inner): print("ASK", float(error.sum()), first.bias.tolist())
        total += float((error**2).sum())
    rate *= 0.95
    # ask(outer): print("ASK", epoch, rate, second.weight.ravel().tolist())
    print("epoch", epoch, "loss", round(total, 9))
