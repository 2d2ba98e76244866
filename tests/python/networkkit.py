"""Networks with the shapes that capture has to get right, and what plain hooks see of them."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

ROWS, BATCH = 22, 8


class Residual(nn.Module):
    """One activation, used twice, in place."""

    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.act(self.norm(self.conv(x))) + x)


class ConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(inplace=True),
            Residual(6),
            nn.MaxPool2d(2),
            nn.Sequential(nn.Conv2d(6, 4, 3), nn.ReLU()),
        )
        self.drop = nn.Dropout(0.3)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(16, 9), nn.Tanh(), nn.Linear(9, 3))
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.drop(self.features(x)))


class Attention(nn.Module):
    """Attention as people write it themselves."""

    def __init__(self, width, heads):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(width, 3 * width), nn.Linear(width, width), heads

    def forward(self, x):
        rows, length, width = x.shape
        shape = (rows, length, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(x).view(shape).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, width))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(40, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 24, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.own = Attention(16, 4)
        self.classify = nn.Linear(16, 3)

    def forward(self, x):
        hidden = self.own(self.encoder(self.embed(x)))
        return {"logits": self.classify(hidden.mean(1)), "hidden": hidden, "loss": None}


class Recurrent(nn.Module):
    """Rows on the second axis inside; outputs are tuples; one module called once a row of steps."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 7, num_layers=2)
        self.mix = nn.Linear(7, 7)

    def forward(self, x):
        out, _ = self.lstm(x.permute(1, 0, 2))
        return self.mix(self.mix(out[-1]))


def make(kind, seed=3):
    torch.manual_seed(seed)
    return kind()


def data_for(kind, rows=ROWS):
    generator = torch.Generator().manual_seed(5)
    if kind is Transformer:
        return torch.randint(0, 40, (rows, 6), generator=generator)
    shape = (3, 8, 8) if kind is ConvNet else (6, 5)
    return torch.randn(rows, *shape, generator=generator)


def cut(data, batch=BATCH):
    return [data[at : at + batch] for at in range(0, len(data), batch)]


def plain_hooks(net, batches, read, rng=None):
    """What torch's own hooks see: {(module, call): value for all rows}, read(output) each."""
    found, calls = defaultdict(list), defaultdict(int)

    def hook(name):
        def keep(module, args, output):
            calls[name] += 1
            found[name, calls[name]].append(read(output))

        return keep

    handles = [m.register_forward_hook(hook(name)) for name, m in net.named_modules()]
    try:
        for batch in batches:
            calls.clear()
            net(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {key: torch.cat(parts).numpy() for key, parts in found.items() if None not in parts}


def first_tensor(output):
    """The value of a layer whose rows are first, None for others."""
    return output.detach().clone() if isinstance(output, torch.Tensor) else None


def expected(kind, net, data):
    """What plain hooks see in eval mode, by the names that flor gives."""
    was = net.training
    net.eval()
    with torch.no_grad():
        found = plain_hooks(net, cut(data), first_tensor)
    net.train(was)
    names = {
        (name or "(output)") + (f"#{call}" if call > 1 else ""): value
        for (name, call), value in found.items()
    }
    if kind is Recurrent:
        net.eval()
        with torch.no_grad():
            outs = [net.lstm(batch.permute(1, 0, 2)) for batch in cut(data)]
        net.train(was)
        names["lstm[0]"] = torch.cat([out.permute(1, 0, 2) for out, _ in outs]).numpy()
        names["lstm[1][0]"] = torch.cat([h.permute(1, 0, 2) for _, (h, _) in outs]).numpy()
        names["lstm[1][1]"] = torch.cat([c.permute(1, 0, 2) for _, (_, c) in outs]).numpy()
    return names


def everything_of(net):
    """All that a capture must leave as it was, comparable."""
    return (
        {name: tensor.clone() for name, tensor in net.state_dict().items()},
        [module.training for module in net.modules()],
        [None if p.grad is None else p.grad.clone() for p in net.parameters()],
        torch.get_rng_state(),
        np.random.get_state()[1].tolist(),
        [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()],
        (torch.is_grad_enabled(), F.scaled_dot_product_attention.__name__),
    )


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other
