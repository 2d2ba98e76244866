"""A replay buffer in NumPy, an environment with a state of its own that can't be pickled."""

import random
import threading
from collections import deque

import numpy as np


class Env:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.reward_of = lambda place: 1.0 if place == 4 else -0.1
        self.visits = {}
        self.place = 0

    def reset(self):
        self.place = 0
        return self.place

    def step(self, action):
        with self.lock:
            slip = self.random.random() < 0.1
            self.place = max(0, min(4, self.place + (1 if action != slip else -1)))
            self.visits[self.place] = self.visits.get(self.place, 0) + 1
            return self.place, self.reward_of(self.place), self.place == 4


class Buffer:
    def __init__(self, size):
        self.states = np.zeros((size, 2), np.int64)
        self.rewards = np.zeros(size, np.float32)
        self.at, self.full = 0, False

    def add(self, state, action, reward):
        self.states[self.at], self.rewards[self.at] = (state, action), reward
        self.at = (self.at + 1) % len(self.rewards)
        self.full |= self.at == 0


env, buffer, table = Env(11), Buffer(32), np.zeros((5, 2))
rng = np.random.RandomState(12)
returns = deque(maxlen=5)
for episode in range(8):
    state, total, done, steps = env.reset(), 0.0, False, 0
    while not done and steps < 30:
        action = int(table[state].argmax()) if rng.rand() > 0.3 else int(rng.randint(2))
        following, reward, done = env.step(action)
        buffer.add(state, action, reward)
        table[state, action] += 0.3 * (
            reward + 0.9 * table[following].max() * (not done) - table[state, action]
        )
        # ask(inner): print("ASK", state, action, following, table[state].tolist())
        state, total, steps = following, total + reward, steps + 1
    returns.append(total)
    # ask(outer): print("ASK", env.visits, buffer.at, float(buffer.rewards.sum()), rng.get_state()[2])
    print("episode", episode, "return", round(total, 6), "mean", round(float(np.mean(returns)), 6))
