"""Objects that can't be captured at all: open sockets, a lock that is held, a lambda, a file."""

import socket
import tempfile
import threading

import numpy as np

ours, theirs = socket.socketpair()
lock = threading.Lock()
lock.acquire()
grow = lambda values: values * 1.1  # noqa: E731
rng = np.random.default_rng(20)
weights = np.zeros(3)
with tempfile.TemporaryFile() as file:
    for epoch in range(4):
        for step in range(3):
            weights = 0.9 * grow(weights) + 0.1 * rng.normal(size=3)
            ours.sendall(bytes([step]))
            echo = theirs.recv(1)[0]
            file.write(weights.tobytes())
            # ask(inner): print("ASK", echo, weights.tolist())
        # ask(outer): print("ASK", epoch, weights.sum(), file.tell(), lock.locked())
        print("epoch", epoch, float(weights.sum()))
