"""How often a cached function was called is no part of any checkpoint."""

import functools
import random

import numpy as np

random.seed(1)


@functools.lru_cache
def table(size):
    return np.linspace(0, 1, size)


weights = table(4) * random.random()
for epoch in range(6):
    for step in range(3):
        weights += table(4) * random.random()
        # ask(inner): print("ASK", step, table.cache_info().hits)
    # ask(outer): print("ASK", epoch, table.cache_info())
    print(epoch, weights.sum())
