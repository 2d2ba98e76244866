"""Epochs that call train() and validate() on module globals; `global` names."""

import numpy as np

np.random.seed(7)
DATA = np.random.randn(64, 3)
TARGET = DATA[:, 0] * DATA[:, 1]
layers = [np.random.randn(3, 8) * 0.3, np.random.randn(8) * 0.3]
lr = 0.05
seen = 0
best = (float("inf"), None)


def forward(batch):
    hidden = np.tanh(batch @ layers[0])
    return hidden, hidden @ layers[1]


def train():
    global seen, lr
    order = np.random.permutation(len(DATA))
    for start in range(0, 64, 16):
        rows = order[start : start + 16]
        hidden, guess = forward(DATA[rows])
        error = guess - TARGET[rows]
        inner = np.outer(error, layers[1]) * (1 - hidden**2)
        # ask(inner): print("ASK", start, seen, error.tolist())
        layers[1] = layers[1] - lr * hidden.T @ error / 16
        layers[0] -= lr * DATA[rows].T @ inner / 16
        seen += len(rows)
    lr *= 0.9


def validate():
    # ask(function): print("ASK", seen, lr)
    return float(np.mean((forward(DATA)[1] - TARGET) ** 2))


for epoch in range(6):
    train()
    score = validate()
    if score < best[0]:
        best = score, [each.copy() for each in layers]
    # ask(outer): print("ASK", epoch, score, best[0], layers[1].tolist())
    print("epoch", epoch, round(score, 8))
