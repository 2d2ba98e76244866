"""A small transformer learns the bytes of Python's own standard library."""

import argparse
import pathlib
import sysconfig

import torch
from torch import nn


class Model(nn.Module):
    def __init__(self, width, layers, length):
        super().__init__()
        self.bytes = nn.Embedding(256, width)
        self.places = nn.Embedding(length, width)
        layer = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.out = nn.Linear(width, 256)
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x):
        hidden = self.bytes(x) + self.places.weight[: x.shape[1]]
        hidden = self.layers(hidden, mask=self.mask[: x.shape[1], : x.shape[1]], is_causal=True)
        return self.out(hidden)


def read_text():
    folder = pathlib.Path(sysconfig.get_paths()["stdlib"])
    text = b"".join(path.read_bytes() for path in sorted(folder.glob("*.py"))[:60])
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


def batches(text, steps, size, length):
    for _ in range(steps):
        starts = torch.randint(len(text) - length - 1, (size,))
        rows = torch.stack([text[start : start + length + 1] for start in starts])
        yield rows[:, :-1], rows[:, 1:]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--width", type=int, default=64)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    text = read_text()
    model = Model(args.width, 2, 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs)
    for epoch in range(args.epochs):
        total = 0.0
        for step, (x, y) in enumerate(batches(text, args.steps, 16, 64)):
            loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            # ask(inner): print("ASK", step, float(model.out.weight.grad.norm()))
        schedule.step()
        # ask(outer): print("ASK", epoch, float(model.out.weight.norm()))
        print(f"epoch {epoch}: loss {total / args.steps:.4f}")


if __name__ == "__main__":
    main()
