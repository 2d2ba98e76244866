"""Resumes from a snapshot found in its folder; the tests run it once before."""

import os
import pickle

import numpy as np

weights, start, history = np.zeros(3), 0, []
rng = np.random.default_rng(17)
if os.path.exists("snapshot.pkl"):
    with open("snapshot.pkl", "rb") as file:
        weights, start, history, state = pickle.load(file)
    rng.bit_generator.state = state
    print("resumed at", start)
for epoch in range(start, start + 4):
    for step in range(5):
        row = rng.normal(size=3)
        weights += 0.1 * (row.sum() - row @ weights) * row
        # ask(inner): print("ASK", epoch, step, weights.tolist())
    history.append(float(np.abs(weights - 1).sum()))
    with open("snapshot.tmp", "wb") as file:
        pickle.dump((weights, epoch + 1, history, rng.bit_generator.state), file)
    os.replace("snapshot.tmp", "snapshot.pkl")
    # ask(outer): print("ASK", epoch, history, os.path.getsize("snapshot.pkl") > 0, sorted(os.listdir()) != [])
    print("epoch", epoch, "error", history[-1])
