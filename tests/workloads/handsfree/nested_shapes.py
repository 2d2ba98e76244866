"""Nested functions, comprehensions, tqdm, recursion, exceptions caught inside the loop."""

import random

import numpy as np
from tqdm import tqdm

random.seed(14)
points = [(x / 10, (x / 10) ** 2) for x in range(-10, 11)]


def make_update(state, rate):
    def update(x, y):
        a, b = state["line"]
        error = a * x + b - y
        if abs(error) > 0.9:
            raise ValueError(f"too far: {x}")
        state["line"] = a - rate * error * x, b - rate * error
        return error

    return update


def halves(items, visit, depth=0):
    if len(items) <= 3:
        for item in items:
            visit(item, depth)
        return
    middle = len(items) // 2
    for part in (items[:middle], items[middle:]):
        halves(part, visit, depth + 1)


def main():
    state = {"line": (0.5, 0.0), "skipped": 0}
    update = make_update(state, 0.2)
    for epoch in tqdm(range(5), disable=None):
        random.shuffle(points)
        errors = []

        def visit(point, depth):
            try:
                errors.append(update(*point))
                # ask(inner): print("ASK", depth, point, state["line"])
            except ValueError as error:
                state["skipped"] += 1
                # ask(caught): print("ASK", str(error), state["skipped"])

        halves(points, visit)
        losses = [error**2 for error in errors if error is not None]
        worst = max(abs(update(x, y)) for x, y in points[:4] if abs(y) < 0.5) if epoch else 0
        # ask(outer): print("ASK", epoch, worst, [round(loss, 3) for loss in losses][:3], state["line"])
        print("epoch", epoch, "loss", float(np.mean(losses)), "skipped", state["skipped"])


main()
