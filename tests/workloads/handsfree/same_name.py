"""The same loop begun twice by a function called twice, and loops of one name after each other."""

import numpy as np

rng = np.random.default_rng(26)
data = rng.normal(size=(40, 3))


def fit(weights, epochs, rate):
    for epoch in range(epochs):
        for row in data:
            weights = weights + rate * (1 - row @ weights) * row
            weights.sum()
        # ask(twice): print("ASK", epoch, weights.tolist())
        print("epoch", epoch, float(weights.sum()))
    return weights


weights = fit(np.zeros(3), 4, 0.1)
weights = fit(weights, 6, 0.01)
for epoch in range(3):
    for row in data:
        weights = weights * 0.99 + np.abs(row).mean() * 0.01
    # ask(second): print("ASK", epoch, weights.tolist())
    print("second", epoch, float(weights.sum()))
weights = fit(weights, 2, 0.05)
