"""Autocast to bfloat16 on the CPU, an AveragedModel, a warm-up schedule by a lambda, weight decay groups."""

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

torch.manual_seed(8)
torch.set_num_threads(1)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, batch):
        return self.head(torch.relu(self.body(batch)))


inputs, labels = torch.randn(64, 6), torch.randint(0, 3, (64,))
net = Net()
ema = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
groups = [{"params": net.body.parameters(), "weight_decay": 0.1}, {"params": net.head.parameters()}]
optimizer = torch.optim.AdamW(groups, lr=0.01)
warmup = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 10))
for epoch in range(4):
    for rows in torch.randperm(64).split(16):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = net(inputs[rows])
            loss = nn.functional.cross_entropy(logits, labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        # ask(inner): print("ASK", logits.dtype, logits.float().sum().item())
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        warmup.step()
        ema.update_parameters(net)
    # ask(outer): print("ASK", [group["lr"] for group in optimizer.param_groups], ema.module.head.bias.tolist())
    print("epoch", epoch, "loss", round(loss.item(), 6), "averaged", int(ema.n_averaged))
