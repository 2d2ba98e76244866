"""A loop of folds around the epochs, and a fine-tuning loop after it."""

import numpy as np

rng = np.random.default_rng(23)
data = rng.normal(size=(30, 3))
goal = data @ [1.0, 2.0, 3.0]
kept = []
for fold in range(3):
    weights = np.zeros(3)
    train = np.arange(30) % 3 != fold
    for epoch in range(4):
        for row, wanted in zip(data[train], goal[train], strict=True):
            weights += 0.05 * (wanted - row @ weights) * row
            # ask(inner): print("ASK", fold, epoch, weights.tolist())
        rng.shuffle(data[:1])
        print(
            "fold",
            fold,
            "epoch",
            epoch,
            float(np.abs(data[~train] @ weights - goal[~train]).mean()),
        )
    kept.append(weights)
    # ask(outer): print("ASK", fold, [each.tolist() for each in kept])
weights = np.mean(kept, axis=0)
for turn in range(6):
    for row, wanted in zip(data, goal, strict=True):
        weights += 0.01 * (wanted - row @ weights) * row
        float(wanted)
    # ask(tuning): print("ASK", turn, weights.tolist())
    print("tuned", turn, float(weights.sum()))
