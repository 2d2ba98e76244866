"""LBFGS with a closure inside a nested function."""

import torch


def fit():
    torch.manual_seed(6)
    torch.set_num_threads(1)
    inputs = torch.randn(50, 3)
    wanted = inputs @ torch.tensor([1.0, -1.0, 2.0]) + 0.1 * torch.randn(50)
    weights = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], lr=0.1, max_iter=3)
    calls = 0

    def closure():
        nonlocal calls
        calls += 1
        optimizer.zero_grad()
        loss = ((inputs @ weights - wanted) ** 2).mean()
        loss.backward()
        # ask(inner): print("ASK", calls, weights.grad.tolist())
        return loss

    for step in range(6):
        loss = optimizer.step(closure)
        # ask(outer): print("ASK", step, weights.tolist(), len(optimizer.state[weights]["old_dirs"]))
        print("step", step, "loss", round(loss.item(), 8), "calls", calls)


fit()
