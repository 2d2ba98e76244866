"""Processes that name their loops and values with flor."""

import argparse
import multiprocessing

import numpy as np

import flor
from flor import log


def train(seed, lr):
    rng = np.random.default_rng(seed)
    weights = np.zeros(3)
    with flor.checkpointing(weights=weights):
        for epoch in flor.loop("epoch", range(3)):
            for _ in flor.loop("step", range(5)):
                weights -= flor.arg("lr", lr) * rng.normal(size=3)
                # ask(inner): log("ASK", f"ASK {weights.max()}")
            log("loss", float(np.square(weights).sum()))
            # ask(outer): print("ASK", epoch, weights.tolist())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lr", type=float, default=0.1)
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=train, args=(seed, options.lr)) for seed in (2, 4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    log("loss", -1.0)
