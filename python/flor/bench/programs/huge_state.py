"""An embedding of 200 MB of which a step touches a few rows: much state, tiny steps."""

import torch
from torch import nn

import flor

torch.manual_seed(0)
torch.set_num_threads(1)
epochs = flor.arg("epochs", 4)
embed = nn.Embedding(400_000, 128, sparse=True)
head = nn.Linear(128, 2)
sparse = torch.optim.SGD(embed.parameters(), lr=0.1)
dense = torch.optim.Adam(head.parameters(), lr=1e-3)

with flor.checkpointing(embed=embed, head=head, sparse=sparse, dense=dense):
    for _ in flor.loop("epoch", range(epochs)):
        for _ in flor.loop("step", range(1000)):
            words, labels = torch.randint(400_000, (32, 20)), torch.randint(2, (32,))
            loss = nn.functional.cross_entropy(head(embed(words).mean(1)), labels)
            sparse.zero_grad()
            dense.zero_grad()
            loss.backward()
            sparse.step()
            dense.step()
            flor.log("loss", loss.item())
