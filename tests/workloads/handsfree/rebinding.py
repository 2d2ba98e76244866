"""Names that are rebound, deleted, swapped, shared; a model replaced in the middle."""

import numpy as np


class Model:
    def __init__(self, rng, width):
        self.weights = rng.normal(size=width)
        self.views = [self.weights[:1], self.weights[1:]]

    def update(self, rng):
        self.views[0] += rng.normal() * 0.1
        self.views[1] *= 0.9


def main():
    rng = np.random.default_rng(22)
    model, other = Model(rng, 3), Model(rng, 3)
    alias, list = model, [model, other]
    for epoch in range(6):
        for step in range(3):
            model.update(rng)
            model, other = other, model
            # ask(inner): print("ASK", step, alias is model, model.weights.tolist())
        if epoch == 2:
            model = list[0] = Model(rng, 4)
            temporary = epoch
        elif epoch == 4:
            del temporary
        list = list[::-1]
        epoch = f"epoch {epoch}"
        print(epoch, float(alias.weights.sum()), [float(each.weights.sum()) for each in list])
        # ask(outer): print("ASK", epoch, alias in list, "temporary" in locals(), model.weights.tolist())
    return alias


main()
