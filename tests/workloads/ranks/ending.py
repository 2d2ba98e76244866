"""Workers of which one ends as it is told, beside a daemon that goes on until the program ends."""

import multiprocessing
import os
import signal
import sys
import time


context = multiprocessing.get_context("fork")


class Ticking(context.Process):
    def run(self):
        while True:
            print("tick")
            time.sleep(0.1)


def work(number):
    for epoch in range(4):
        # ask(epoch)
        print("worker", number, "epoch", epoch)
        if number == 1 and epoch == 2 and sys.argv[1] == "failed":
            raise ValueError("told to fail")
        if number == 1 and epoch == 2 and sys.argv[1] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    ticking = Ticking(daemon=True)
    ticking.start()
    time.sleep(0.3)
    workers = [context.Process(target=work, args=(number,)) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("done")
