"""Deletes one output folder and numbers others; appends to a log of its own."""

import os
import shutil

import numpy as np

shutil.rmtree("scratch", ignore_errors=True)
os.mkdir("scratch")
number = 1 + max([int(name[3:]) for name in os.listdir(".") if name.startswith("exp")], default=0)
folder = f"exp{number}"
os.mkdir(folder)
rng = np.random.default_rng(18 + number)
weights = np.ones(4)
with open(os.path.join(folder, "log.txt"), "a", buffering=1) as log:
    for epoch in range(5):
        for step in range(3):
            weights -= 0.1 * (weights - rng.normal(size=4))
            # ask(inner): print("ASK", number, step, weights.tolist())
            np.save(f"scratch/{step}.npy", weights)
        log.write(f"epoch {epoch} {float(weights.sum())!r}\n")
        log.flush()
        if epoch % 2:
            os.remove(f"scratch/{epoch % 3}.npy")
        # ask(outer): print("ASK", sorted(os.listdir("scratch")), open(f"{folder}/log.txt").read().count("epoch"))
        print(folder, "epoch", epoch, float(weights.sum()))
