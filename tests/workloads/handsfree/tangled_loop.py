"""try, except, else, finally and continue in a loop over an endless iterator; averages of weights."""

import itertools
import torch

torch.manual_seed(0)
torch.set_num_threads(1)
model = torch.nn.Sequential(
    torch.nn.Linear(5, 8), torch.nn.BatchNorm1d(8), torch.nn.Tanh(), torch.nn.Linear(8, 1)
)
shadow = [p.detach().clone() for p in model.parameters()]
opt = torch.optim.RMSprop(model.parameters(), lr=0.01)
sched = torch.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=1)
feed = itertools.cycle(torch.randn(40, 5).split(8))
seen = {}


def blend(old, new, keep=0.9):
    return keep * old + (1 - keep) * new


for epoch in itertools.count():
    losses = []
    for step, x in zip(range(6), feed):
        try:
            if step == 4 and epoch % 3 == 1:
                raise ValueError("skip")
            loss = (model(x) - x.sum(1, keepdim=True)).square().mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
            # ask(inner): print("ASK", step, float(model[0].weight.grad.norm()))
        except ValueError as error:
            seen.setdefault(epoch, []).append(str(error))
        else:
            if step == 5:
                for k, (s, p) in enumerate(zip(shadow, model.parameters())):
                    shadow[k] = blend(s, p.detach())
        finally:
            seen[("steps", epoch)] = step
    sched.step(sum(losses))
    model.eval()
    with torch.no_grad():
        value = sum(float(model(x).sum()) for x in torch.eye(5).split(2))
    model.train()
    # ask(outer): print("ASK", epoch, value, opt.param_groups[0]["lr"])
    print("epoch", epoch, value, len(seen))
    if epoch == 6:
        break
