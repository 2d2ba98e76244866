"""A network of two layers in plain NumPy, on scikit-learn's digits."""

import sys

import numpy as np
from sklearn.datasets import load_digits

epochs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
rng = np.random.default_rng(3)
digits = load_digits()
inputs, labels = digits.data / 16, digits.target
sizes = (64, 256, 10)
weights = [rng.normal(0, 0.1, (a, b)) for a, b in zip(sizes, sizes[1:], strict=False)]
momenta = [np.zeros_like(weight) for weight in weights]


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def update(rows, rate):
    x = inputs[rows]
    hidden = np.maximum(0, x @ weights[0])
    error = softmax(hidden @ weights[1])
    loss = -np.log(error[np.arange(len(rows)), labels[rows]]).mean()
    error[np.arange(len(rows)), labels[rows]] -= 1
    gradients = [
        x.T @ ((error @ weights[1].T) * (hidden > 0)) / len(rows),
        hidden.T @ error / len(rows),
    ]
    for weight, momentum, gradient in zip(weights, momenta, gradients, strict=True):
        momentum *= 0.9
        momentum += gradient
        weight -= rate * momentum
    return loss


for epoch in range(epochs):
    order, total = rng.permutation(len(inputs)), 0.0
    for start in range(0, len(order), 32):
        total += update(order[start : start + 32], 0.05)
        # ask(inner): print("ASK", start, float(np.abs(momenta[0]).max()))
    # ask(outer): print("ASK", epoch, float(np.abs(weights[0]).sum()))
    print(f"epoch {epoch}: loss {total:.4f}")
