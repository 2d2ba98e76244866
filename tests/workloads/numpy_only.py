"""Logistic regression in pure NumPy, with momentum: no torch anywhere."""

import flor
import numpy as np
from sklearn.datasets import load_breast_cancer

rng = np.random.default_rng(flor.arg("seed", 61))
data = load_breast_cancer()
inputs = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
labels = data.target.astype(np.float64)

weights = np.zeros(inputs.shape[1])
velocity = np.zeros_like(weights)
bias = 0.0
rate = flor.arg("rate", 0.1)
accuracies = []


def sigmoid(z):
    return 1.0 / (1.0 + np.exp(-z))


with flor.checkpointing():
    for epoch in flor.loop("epoch", range(flor.arg("epochs", 15))):
        order = rng.permutation(len(inputs))
        for start in flor.loop("step", range(0, len(order), 32)):
            rows = order[start : start + 32]
            error = sigmoid(inputs[rows] @ weights + bias) - labels[rows]
            gradient = inputs[rows].T @ error / len(rows) + 1e-3 * weights
            velocity *= 0.9
            velocity -= rate * gradient
            weights += velocity
            bias -= rate * float(error.mean())
            flor.log("error", float(np.abs(error).mean()))
        rate *= 0.9
        accuracies.append(float(((sigmoid(inputs @ weights + bias) > 0.5) == labels).mean()))
        flor.log("accuracy", accuracies[-1])

flor.log("weights", weights)
