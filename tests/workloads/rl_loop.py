"""Q-learning on a windy corridor: Python and NumPy randomness, a replay buffer, an environment with a state of its own."""

import random
from collections import deque

import flor
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
seed = flor.arg("seed", 2)
random.seed(seed)
np.random.seed(seed)
torch.manual_seed(seed)


class Corridor:
    """Walk right to the end of a corridor; wind blows back at random."""

    def __init__(self, length, rng):
        self.length = length
        self.rng = rng
        self.place = 0
        self.clock = 0
        self.visits = np.zeros(length, dtype=np.int64)

    def reset(self):
        self.place, self.clock = 0, 0
        return self.observe()

    def observe(self):
        return np.array([self.place / self.length, self.clock / 40], dtype=np.float32)

    def step(self, action):
        self.place += 1 if action else -1
        if self.rng.random() < 0.1:
            self.place -= 1
        self.place = max(0, min(self.length - 1, self.place))
        self.clock += 1
        self.visits[self.place] += 1
        done = self.place == self.length - 1 or self.clock >= 40
        return self.observe(), float(self.place == self.length - 1), done


class Agent:
    def __init__(self):
        self.net = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))
        self.optimizer = torch.optim.RMSprop(self.net.parameters(), lr=2e-3)
        self.memory = deque(maxlen=400)
        self.epsilon = 1.0

    def act(self, observation):
        if random.random() < self.epsilon:
            return random.randrange(2)
        with torch.no_grad():
            return int(self.net(torch.from_numpy(observation)).argmax())

    def learn(self):
        if len(self.memory) < 32:
            return None
        rows = np.random.choice(len(self.memory), 32, replace=False)
        before, action, reward, after, done = zip(*(self.memory[row] for row in rows))
        with torch.no_grad():
            future = self.net(torch.from_numpy(np.stack(after))).max(dim=1).values
            wanted = torch.tensor(reward) + 0.95 * future * (
                1 - torch.tensor(done, dtype=torch.float32)
            )
        value = (
            self.net(torch.from_numpy(np.stack(before)))
            .gather(1, torch.tensor(action)[:, None])
            .squeeze(1)
        )
        loss = F.smooth_l1_loss(value, wanted)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()


env = Corridor(12, np.random.default_rng(seed))
agent = Agent()
returns = []

with flor.checkpointing(net=agent.net, optimizer=agent.optimizer):
    for episode in flor.loop("episode", range(flor.arg("episodes", 30))):
        observation = env.reset()
        collected = 0.0
        for step in flor.loop("step", range(40)):
            action = agent.act(observation)
            following, reward, done = env.step(action)
            agent.memory.append((observation, action, reward, following, done))
            observation = following
            collected += reward
            loss = agent.learn()
            if loss is not None:
                flor.log("loss", loss)
            if done:
                break
        agent.epsilon = max(0.05, agent.epsilon * 0.93)
        returns.append(collected)
        flor.log("return", collected)
        flor.log("epsilon", agent.epsilon)

print("mean return of the last ten:", sum(returns[-10:]) / 10)
