"""flor.loop inside enumerate, tqdm and zip; continue, break, else; two loops of one name; a loop in a comprehension."""

import sys

import flor
import torch
import torch.nn as nn
import torch.nn.functional as F
from tqdm import tqdm

torch.set_num_threads(1)
torch.manual_seed(flor.arg("seed", 81))
inputs = torch.randn(240, 6)
targets = inputs.prod(dim=1).tanh()
net = nn.Sequential(nn.Linear(6, 32), nn.SiLU(), nn.Linear(32, 1))
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
skipped, finished = 0, []

with flor.checkpointing(net=net, optimizer=optimizer):
    for epoch in tqdm(
        flor.loop("epoch", range(1, flor.arg("epochs", 7) + 1)), file=sys.stderr, disable=None
    ):
        parts = torch.randperm(240).split(20)
        for number, rows in enumerate(flor.loop("step", parts), start=1):
            if number == 3:
                skipped += 1
                continue
            loss = F.mse_loss(net(inputs[rows]).squeeze(1), targets[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            flor.log("loss", loss.item())
            if epoch == 4 and number == 8:
                break
        else:
            finished.append(epoch)
        for rows, weight in zip(flor.loop("step", parts[:4]), [1.0, 0.5, 0.25, 0.125]):
            with torch.no_grad():
                flor.log(
                    "valid", weight * F.mse_loss(net(inputs[rows]).squeeze(1), targets[rows]).item()
                )
        means = [
            flor.log("mean", rows.float().mean().item()) for rows in flor.loop("part", parts[:3])
        ]
        flor.log("parts", means)

flor.log("outcome", {"skipped": skipped, "finished": finished})
