"""Steps with an endless generator of batches."""

import torch
from torch import nn


def endless(inputs, size):
    turn = 0
    while True:
        for rows in torch.randperm(len(inputs)).split(size):
            yield turn, inputs[rows]
        turn += 1


def run(steps):
    net = nn.Linear(5, 5)
    optimizer = torch.optim.RMSprop(net.parameters(), lr=0.01)
    stream = endless(torch.randn(40, 5), 8)
    step = 0
    while step < steps:
        turn, batch = next(stream)
        loss = (net(batch) - batch.roll(1, 1)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        # ask(inner): print("ASK", step, turn, net.weight.grad.sum().item())
        optimizer.step()
        step += 1
        if step % 5 == 0:
            # ask(some): print("ASK", step, net.bias.tolist())
            print(f"step {step} turn {turn} loss {loss.item():.6f}")
    # ask(after): print("ASK", net.weight.tolist())
    return net


torch.manual_seed(2)
torch.set_num_threads(1)
run(20)
