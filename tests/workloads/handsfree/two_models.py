"""A GAN: two models, two optimizers, an EMA copy."""

import copy

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce

torch.manual_seed(4)
torch.set_num_threads(1)
maker = nn.Sequential(nn.Linear(3, 12), nn.ReLU(), nn.Linear(12, 2))
critic = nn.Sequential(nn.Linear(2, 12), nn.LeakyReLU(0.2), nn.Linear(12, 1))
average = copy.deepcopy(maker)
optimizers = {
    "maker": torch.optim.Adam(maker.parameters(), lr=2e-3, betas=(0.5, 0.9)),
    "critic": torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9)),
}
for epoch in range(4):
    losses = {"maker": 0.0, "critic": 0.0}
    for _ in range(5):
        real = torch.randn(16, 2) * 0.5 + 1
        fake = maker(torch.randn(16, 3))
        loss = bce(critic(real), torch.ones(16, 1)) + bce(critic(fake.detach()), torch.zeros(16, 1))
        optimizers["critic"].zero_grad()
        loss.backward()
        # ask(critic): print("ASK", critic[0].weight.grad.sum().item())
        optimizers["critic"].step()
        losses["critic"] += loss.item()
        loss = bce(critic(fake), torch.ones(16, 1))
        optimizers["maker"].zero_grad()
        loss.backward()
        optimizers["maker"].step()
        losses["maker"] += loss.item()
        with torch.no_grad():
            for slow, fast in zip(average.parameters(), maker.parameters()):
                slow.lerp_(fast, 0.1)
    print("epoch", epoch, {name: round(value, 6) for name, value in losses.items()})
    # ask(outer): print("ASK", epoch, [p.norm().item() for p in average.parameters()])
