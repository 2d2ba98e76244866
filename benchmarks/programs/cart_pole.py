"""Reinforcement learning: a world in plain Python, a replay buffer in NumPy, a small network."""

import copy
import math
import random
import sys

import numpy as np
import torch
from torch import nn


class CartPole:
    def reset(self):
        self.state = [random.uniform(-0.05, 0.05) for _ in range(4)]
        self.steps = 0
        return list(self.state)

    def step(self, action):
        x, speed, angle, turn = self.state
        force = 10.0 if action else -10.0
        cosine, sine = math.cos(angle), math.sin(angle)
        push = (force + 0.05 * turn * turn * sine) / 1.1
        bend = (9.8 * sine - cosine * push) / (0.5 * (4 / 3 - 0.1 * cosine * cosine / 1.1))
        slide = push - 0.05 * bend * cosine / 1.1
        self.state = [
            x + 0.02 * speed,
            speed + 0.02 * slide,
            angle + 0.02 * turn,
            turn + 0.02 * bend,
        ]
        self.steps += 1
        done = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.21 or self.steps >= 200
        return list(self.state), 1.0, done


class Buffer:
    def __init__(self, size):
        self.states = np.zeros((size, 10), np.float32)
        self.size, self.filled = size, 0

    def add(self, state, action, reward, after, done):
        row = [*state, action, reward, *after]
        self.states[self.filled % self.size] = row
        self.states[self.filled % self.size, 5] = reward if not done else -1.0
        self.filled += 1

    def sample(self, count):
        rows = np.random.randint(0, min(self.filled, self.size), count)
        return torch.from_numpy(self.states[rows])


def update(network, target, optimizer, batch):
    values = network(batch[:, :4]).gather(1, batch[:, 4:5].long()).squeeze(1)
    with torch.no_grad():
        ahead = target(batch[:, 6:10]).max(1).values
        goal = batch[:, 5] + 0.99 * ahead * (batch[:, 5] > 0)
    loss = nn.functional.smooth_l1_loss(values, goal)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def main(episodes):
    torch.set_num_threads(1)
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    network = nn.Sequential(
        nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    target = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    world, buffer, total = CartPole(), Buffer(20_000), 0
    for episode in range(episodes):
        state, done, score = world.reset(), False, 0.0
        while not done:
            if random.random() < max(0.05, 0.9 - episode / 100):
                action = random.randrange(2)
            else:
                action = int(network(torch.tensor(state)).argmax())
            after, reward, done = world.step(action)
            buffer.add(state, action, reward, after, done)
            state, score, total = after, score + reward, total + 1
            if total > 200:
                loss = update(network, target, optimizer, buffer.sample(64))
                # ask(inner): print("ASK", total, loss)
            if total % 200 == 0:
                target.load_state_dict(network.state_dict())
        # ask(outer): print("ASK", episode, float(network[0].weight.norm()))
        print(f"episode {episode}: score {score}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
