"""Small loops of functions that call nothing of weight, inside and beside a training."""

import math
import random

random.seed(3)


def square(x):
    return x * x


def norm(values):
    total = 0.0
    for value in values:
        total += square(value)
        # ask(light): print("ASK", value, total)
    return math.sqrt(total)


def clip(values, most):
    size = norm(values)
    if size > most:
        for i in range(len(values)):
            values[i] = values[i] * most / size
    return values


def names(words):
    out = []
    for word in words:
        out.append(word.upper())
        # ask(quiet): print("ASK", word, len(out))
    return out


weights = [random.uniform(-1, 1) for _ in range(6)]
history = []
for epoch in range(5):
    for step in range(4):
        grads = [random.gauss(0, 1) + w for w in weights]
        clip(grads, 1.5)
        for i in range(6):
            weights[i] -= 0.1 * square(grads[i]) * (1 if grads[i] > 0 else -1)
        # ask(inner): print("ASK", step, weights[0])
    for i in range(6):
        history.append(square(weights[i]))
    for i in range(3):
        history.append(norm(weights[: i + 1]))
    # ask(outer): print("ASK", epoch, len(history), history[-1])
    print("epoch", epoch, norm(weights), names(["a", "b"]))
