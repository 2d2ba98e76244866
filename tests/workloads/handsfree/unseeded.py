"""No seed anywhere; the order of a set of strings and a fresh generator decide too."""

import random

import numpy as np

words = list({f"word{number}" for number in range(40)})
fresh = np.random.default_rng()
weights = np.random.randn(5)
for epoch in range(5):
    for step in range(4):
        word = random.choice(words)
        weights += 0.1 * fresh.normal(size=5) * len(word) - 0.05 * weights
        print("step", step, word, repr(float(weights.sum())))
        # ask(inner): print("ASK", "step", step, word, repr(float(weights.sum())))
    words = words[1:] + words[:1]
    print("epoch", epoch, words[0], hash(words[0]) % 1000)
    # ask(outer): print("ASK", "epoch", epoch, words[0], hash(words[0]) % 1000)
