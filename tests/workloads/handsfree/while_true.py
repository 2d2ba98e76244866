"""`while True` with break, `count()`, early stopping, all in NumPy."""

from itertools import count

import numpy as np

rng = np.random.default_rng(5)
inputs = rng.normal(size=(90, 4))
wanted = (inputs @ np.array([1.0, -2.0, 0.5, 3.0]) > 0).astype(float)
weights = np.zeros(4)
best, patience, epoch = np.inf, 0, 0

while True:
    order = rng.permutation(90)
    total = 0.0
    for number in count():
        rows = order[number * 15 : number * 15 + 15]
        if len(rows) == 0:
            break
        guess = 1 / (1 + np.exp(-inputs[rows] @ weights))
        gradient = inputs[rows].T @ (guess - wanted[rows]) / len(rows)
        weights -= 0.5 * gradient
        # ask(inner): print("ASK", number, gradient.tolist())
        total += float(-np.log(np.where(wanted[rows] == 1, guess, 1 - guess)).sum())
    print("epoch", epoch, "loss", round(total, 8))
    # ask(outer): print("ASK", epoch, weights.tolist(), patience)
    patience = 0 if total < best * 0.9 else patience + 1
    best = min(best, total)
    if patience == 2 or epoch > 30:
        break
    epoch += 1

# ask(after): print("ASK", epoch, best)
while patience:
    patience -= 1
    print("patience", patience)
else:
    print("no patience left")
