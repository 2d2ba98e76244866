"""Five questions to a network, over the ten epochs of its training: ``python gallery.py [FOLDER]``.

Trains digits.py (beside this file) under recording, then asks about what its layers computed at any
epoch. Nothing was captured while it trained. Pictures and their store go to FOLDER (./gallery).
"""

import subprocess
import sys
from pathlib import Path

import flor
import numpy as np
from matplotlib.figure import Figure

import digits

EPOCHS = 10
WIDTH = 8
LAYERS = ["conv1", "relu1", "conv2", "relu2", "hidden", "output"]


def record(store):
    """Train, with a checkpoint after every epoch."""
    settings = {"epochs": EPOCHS, "width": WIDTH, "shifts": 0}
    chosen = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "flor", "record", "--store", store, "--overhead", "inf"]
    subprocess.run([*command, *chosen, digits.__file__], check=True)


def at_epoch(epoch, images, store):
    """The network as it was at the end of an epoch; all its layers can be asked."""
    net = digits.make_network(WIDTH, dropout=0.3)
    return flor.intermediates(net, run="latest", at={"epoch": epoch}, data=images, store=store)


def show(images, rows, titles, path):
    figure = Figure(figsize=(1.2 * len(rows), 1.6), layout="constrained")
    for axes, row, title in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows, titles):
        axes.imshow(images[row, 0], cmap="gray_r")
        axes.set_title(title, fontsize=8)
        axes.set_axis_off()
    figure.savefig(path, dpi=120)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    store = str(folder / "store")
    record(store)
    _, _, images, labels = digits.load_data(seed=7, shifts=0)
    labels = labels.numpy()
    epochs = [at_epoch(epoch, images, store) for epoch in range(EPOCHS)]
    first, last = epochs[0], epochs[-1]

    print("1. Which images does channel 3 of the second convolution like best?")
    best = last.topk("relu2", unit=3, k=10)
    show(images, best.row_id, [f"{value:.2f}" for value in best.numpy()], folder / "1-topk.png")

    print("2. What does each hidden unit do for each digit?")
    last.vis("hidden", by=labels).plot(folder / "2-classes.png")

    print("3. When did each layer become what it is at the end?")
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="epoch", ylabel="SVCCA with the last epoch")
    for layer in LAYERS:
        axes.plot([one.svcca(layer, last).item() for one in epochs], label=layer)
    axes.legend()
    figure.savefig(folder / "3-settling.png", dpi=120)

    before, after = (one.read("output").numpy() for one in (first, last))
    missed = labels[before.argmax(axis=1) != labels]
    digit = int(np.bincount(missed, minlength=digits.CLASSES).argmax())
    print(f"4. Epoch 0 misses {digit} most: which images did later epochs come to see as {digit}?")
    changed = last.col_diff(first, "output", digit, k=10)
    titles = [f"{value:+.1f}" for value in changed.numpy()]
    show(images, changed.row_id, titles, folder / "4-changed.png")

    print("5. What does the network take for the same as an image that it gets wrong?")
    wrong = np.flatnonzero(after.argmax(axis=1) != labels)
    row = int(wrong[0]) if len(wrong) else 0
    near = last.knn("hidden", row, k=9)
    shown = [row, *near.row_id]
    show(images, shown, [f"is {labels[one]}" for one in shown], folder / "5-neighbours.png")

    print("\nHow the last answer was found:\n")
    print(near.plan)
    print("\nWhat of 'hidden' is kept, and why:\n")
    print(last.why("hidden"))
    print(f"\nPictures: {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "gallery").resolve())
