"""Functions with caches: one that the first lines fill, one that the loop fills, one that draws."""

import functools
import random

import numpy as np

random.seed(1)


@functools.lru_cache
def table(size):
    return np.linspace(0, 1, size)


@functools.lru_cache(maxsize=2)
def noise(key):
    return random.random()


class Schedule:
    @functools.cache
    def rate(self, phase):
        return 0.5 / (phase + 1)


schedule, weights = Schedule(), table(4).copy()
for epoch in range(6):
    for step in range(3):
        weights += table(4) * schedule.rate(epoch // 2) * noise(step % 2 + epoch // 3)
        # ask(inner): print("ASK", weights.tolist())
    # ask(outer): print("ASK", epoch, weights.max())
    # ask(rate): print("ASK", epoch, schedule.rate(epoch // 2))
    print(epoch, weights.sum())
