"""A list of callbacks, batches from a generator, for-else; plain NumPy."""

import random
import numpy as np

rng = np.random.default_rng(5)


class History:
    def __init__(self):
        self.seen = []

    def add(self, epoch, value):
        self.seen.append((epoch, value))
        if len(self.seen) % 4 == 0:
            print("history", len(self.seen), value)


class Best:
    best = None

    def add(self, epoch, value):
        if self.best is None or value < self.best:
            Best.best = value
            # ask(method): print("ASK", epoch, value)
            print("best", epoch)


def batches(data, size):
    order = rng.permutation(len(data))
    for start in range(0, len(data), size):
        yield data[order[start : start + size]]


def fit(data, callbacks, epochs):
    w = np.zeros(data.shape[1])
    for epoch in range(epochs):
        total = 0.0
        for batch in batches(data, 8):
            error = batch @ w - batch.sum(axis=1)
            w -= 0.05 * batch.T @ error / len(batch)
            total += float((error**2).mean())
            # ask(inner): print("ASK", total)
        for callback in callbacks:
            callback.add(epoch, total)
        if total < 1e-9:
            break
        # ask(outer): print("ASK", epoch, w.tolist())
    else:
        print("all epochs")
    return w


data = rng.normal(size=(64, 4))
w = fit(data, [History(), Best()], 9)
print("end", w.sum(), Best.best)
