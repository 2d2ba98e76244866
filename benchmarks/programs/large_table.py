"""Huge state, tiny epochs: a table of embeddings of which a step touches a few rows."""

import argparse

import torch
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=200)
parser.add_argument("--rows", type=int, default=400_000)
args = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(4)
table = nn.Embedding(args.rows, 64, sparse=True)
head = nn.Linear(64, 8)
sparse = torch.optim.SparseAdam(table.parameters(), lr=1e-2)
dense = torch.optim.Adam(head.parameters(), lr=1e-3)
for epoch in range(args.epochs):
    total = 0.0
    for step in range(50):
        rows = torch.randint(args.rows, (64, 4))
        target = rows.sum(1) % 8
        loss = nn.functional.cross_entropy(head(table(rows).mean(1)), target)
        sparse.zero_grad()
        dense.zero_grad()
        loss.backward()
        sparse.step()
        dense.step()
        total += loss.item()
        # ask(inner): print("ASK", step, float(head.weight.grad.norm()))
    # ask(outer): print("ASK", epoch, float(head.weight.norm()))
    print(f"epoch {epoch}: loss {total / 50:.4f}")
