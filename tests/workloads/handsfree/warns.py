"""Warns, shown once by Python's default filter; and reads its own name."""

import sys
import warnings

import numpy as np

rng = np.random.default_rng(25)
weights = np.zeros(2)
print("program", sys.argv[0], sys.argv[1:])
for epoch in range(5):
    for step in range(3):
        weights += rng.normal(size=2)
        if step:
            warnings.warn("step is not 0", UserWarning)
        # ask(inner): print("ASK", step, weights.tolist())
    if epoch == 1:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            warnings.warn("caught")
        print("caught", len(caught))
    # ask(outer): print("ASK", epoch, weights.tolist())
    print("epoch", epoch, float(weights.sum()))
