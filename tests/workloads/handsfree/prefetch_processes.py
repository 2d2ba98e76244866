"""Batches made ahead by worker processes, through queues."""

import multiprocessing

import numpy as np


def produce(number, jobs, results):
    rng = np.random.default_rng([24, number])
    for index in iter(jobs.get, None):
        results.put((index, rng.normal(size=3) + index))


def main():
    context = multiprocessing.get_context("spawn")
    jobs, results = context.Queue(), context.Queue()
    worker = context.Process(target=produce, args=(0, jobs, results))
    worker.start()
    for index in range(3):
        jobs.put(index)
    weights = np.zeros(3)
    for epoch in range(3):
        for step in range(4):
            index, batch = results.get()
            jobs.put(epoch * 4 + step + 3)
            weights = 0.9 * weights + 0.1 * batch
            # ask(inner): print("ASK", index, weights.tolist())
        # ask(outer): print("ASK", epoch, weights.sum())
        print("epoch", epoch, float(weights.sum()))
    jobs.put(None)
    worker.join()


if __name__ == "__main__":
    main()
