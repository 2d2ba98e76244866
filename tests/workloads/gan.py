"""A small GAN on a ring of Gaussians: two networks, two optimizers, two steps an iteration."""

import math

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 3))
epochs = flor.arg("epochs", 6)
steps = flor.arg("steps", 30)
batch = flor.arg("batch", 64)
noise_width = 8


def real_points(count):
    angle = torch.randint(0, 8, (count,)) * (2 * math.pi / 8)
    centre = torch.stack([torch.cos(angle), torch.sin(angle)], dim=1)
    return 2 * centre + 0.05 * torch.randn(count, 2)


generator = nn.Sequential(
    nn.Linear(noise_width, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
)
critic = nn.Sequential(
    nn.Linear(2, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 1)
)
make_better = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.99))
judge_better = torch.optim.RMSprop(critic.parameters(), lr=5e-4)

with flor.checkpointing(generator=generator, critic=critic, g_opt=make_better, d_opt=judge_better):
    for epoch in flor.loop("epoch", range(epochs)):
        for step in flor.loop("step", range(steps)):
            real = real_points(batch)
            fake = generator(torch.randn(batch, noise_width))

            judge_better.zero_grad()
            on_real = critic(real)
            on_fake = critic(fake.detach())
            d_loss = F.softplus(-on_real).mean() + F.softplus(on_fake).mean()
            d_loss.backward()
            judge_better.step()

            make_better.zero_grad()
            g_loss = F.softplus(-critic(fake)).mean()
            g_loss.backward()
            make_better.step()
            flor.log("d_loss", d_loss.item())
            flor.log("g_loss", g_loss.item())
        with torch.no_grad():
            sample = generator(torch.randn(256, noise_width))
        radius = sample.norm(dim=1)
        flor.log("radius", {"mean": radius.mean().item(), "std": radius.std().item()})
