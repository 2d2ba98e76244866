"""Processes that multiprocessing forks or spawns, each fitting a model of its own with NumPy; beside them one
that only fetches data and says nothing.
"""

import argparse
import multiprocessing
import time

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--method", default="fork")
options = parser.parse_args()
seeds = [3, 11]


def fetch(queue):
    while True:
        queue.put(np.ones(3))


def train(seed, results):
    begun = time.perf_counter()
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(200, 4)), rng.normal(size=200)
    weights = np.zeros(4)
    for epoch in range(4):
        for row in rng.permutation(200)[:50]:
            weights -= options.lr * (x[row] @ weights - y[row]) * x[row]
            # ask(inner): print("ASK", epoch, row, weights.sum())
        print(f"seed {seed}, epoch {epoch}: error {np.square(x @ weights - y).mean():.9f}")
        # ask(outer): print("ASK", epoch, weights.tolist())
    print(f"took {time.perf_counter() - begun:.6f} s, {np.random.random():.9f}")
    results.put((seed, weights))


if __name__ == "__main__":
    context = multiprocessing.get_context(options.method)
    print("starting", len(seeds))
    fetched = context.Queue(maxsize=2)
    fetcher = context.Process(target=fetch, args=(fetched,), daemon=True)
    fetcher.start()
    fetched.get()
    results = context.Queue()
    workers = []
    for seed in seeds:
        worker = context.Process(target=train, args=(seed, results))
        worker.start()
        workers.append(worker)
    found = dict(results.get() for _ in seeds)
    for worker in workers:
        worker.join()
    for seed in seeds:
        print(f"seed {seed}: {found[seed].sum():.9f}")
    # ask(after): print("ASK", found[3].tolist())
