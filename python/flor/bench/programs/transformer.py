"""A small transformer with AdamW: steps of tens of milliseconds, 23 MB of state."""

import torch
from torch import nn

import flor

torch.manual_seed(0)
torch.set_num_threads(1)
epochs = flor.arg("epochs", 4)
width = 192
layer = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, batch_first=True)
net = nn.ModuleDict(
    {
        "embed": nn.Embedding(256, width),
        "body": nn.TransformerEncoder(layer, 4, enable_nested_tensor=False),
        "head": nn.Linear(width, 256),
    }
)
optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4)
schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
text = torch.randint(0, 256, (100_000,))

with flor.checkpointing(net=net, optimizer=optimizer, schedule=schedule):
    for _ in flor.loop("epoch", range(epochs)):
        for _ in flor.loop("step", range(20)):
            rows = torch.stack([text[i : i + 65] for i in torch.randint(99_000, (8,)).tolist()])
            logits = net["head"](net["body"](net["embed"](rows[:, :-1])))
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            flor.log("loss", loss.item())
