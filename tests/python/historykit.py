"""A program in many versions, each with the same question placed by hand: the oracle."""

from dataclasses import dataclass

BASE = '''\
"""Linear regression by hand."""
import numpy as np

import flor

lr = flor.arg("lr", 0.1)
decay = 0.9
rng = np.random.default_rng(3)
inputs = rng.normal(size=(48, 4))
targets = inputs @ np.array([1.0, -2.0, 0.5, 3.0])


def gradient(w, x, y):
    error = x @ w - y
    return x.T @ error / len(y)


def loss_of(w, x, y):
    return float(((x @ w - y) ** 2).mean())


weights = np.zeros(4)
velocity = np.zeros(4)
with flor.checkpointing(weights=weights, velocity=velocity):
    for epoch in flor.loop("epoch", range(3)):
        order = rng.permutation(48)
        for step in flor.loop("step", range(4)):
            rows = order[step * 12 : step * 12 + 12]
            grad = gradient(weights, inputs[rows], targets[rows])
            velocity *= decay
            velocity -= lr * grad
            weights += velocity
        loss = loss_of(weights, inputs, targets)
        flor.log("loss", loss)
flor.log("final", weights)
'''

INNER = 'flor.log("norm", float(np.linalg.norm(grad)))'
OUTER = 'flor.log("gap", loss * 2)'
AFTER_GRAD = "grad = gradient(weights, inputs[rows], targets[rows])\n"
AFTER_LOSS = "loss = loss_of(weights, inputs, targets)\n"


def ask(source, inner=INNER, outer=OUTER, after_grad=AFTER_GRAD, after_loss=AFTER_LOSS):
    """Return a source with the two statements placed by hand."""
    for anchor, text in ((after_grad, inner), (after_loss, outer)):
        if text is None:
            continue
        assert source.count(anchor) == 1, (source.count(anchor), anchor)
        at = source.index(anchor)
        margin = source[source.rindex("\n", 0, at) + 1 : at]
        assert not margin.strip(), margin
        at += len(anchor)
        source = source[:at] + f"{margin}{text}\n" + source[at:]
    return source


ASKED = ask(BASE)


@dataclass(frozen=True)
class Case:
    """A version. ``by_hand``: with the statements where a person would put them, None where all
    must be refused. ``refused``: the names whose place can't be told.
    """

    name: str
    source: str
    by_hand: str | None
    refused: tuple[str, ...] = ()


def swap(source, *pairs):
    for old, new in pairs:
        assert old in source, old
        source = source.replace(old, new)
    return source


def _case(name, source, refused=(), **hand):
    if refused == ("norm", "gap"):
        return Case(name, source, None, refused)
    if "norm" in refused:
        hand["inner"] = None
    if "gap" in refused:
        hand["outer"] = None
    return Case(name, source, ask(source, **hand), refused)


RENAMED = swap(BASE, ("weights", "params"), ("velocity", "momentum"), ("grad =", "g ="),
               ("lr * grad", "lr * g"))  # fmt: skip
LOSS_RENAMED = swap(BASE, ("loss = loss_of", "value = loss_of"), ('"loss", loss', '"loss", value'))
MAIN = """\
def main():
    weights = np.zeros(4)
    velocity = np.zeros(4)
    with flor.checkpointing(weights=weights, velocity=velocity):
        for epoch in flor.loop("epoch", range(3)):
            order = rng.permutation(48)
            for step in flor.loop("step", range(4)):
                rows = order[step * 12 : step * 12 + 12]
                grad = gradient(weights, inputs[rows], targets[rows])
                velocity *= decay
                velocity -= lr * grad
                weights += velocity
            loss = loss_of(weights, inputs, targets)
            flor.log("loss", loss)
    flor.log("final", weights)


if __name__ == "__main__":
    main()
"""
HEAD, TAIL = BASE[: BASE.index("weights = np")], BASE[BASE.index("weights = np") :]
SPLIT = """\
def train_epoch(weights, velocity, order):
    for step in flor.loop("step", range(4)):
        rows = order[step * 12 : step * 12 + 12]
        grad = gradient(weights, inputs[rows], targets[rows])
        velocity *= decay
        velocity -= lr * grad
        weights += velocity


weights = np.zeros(4)
velocity = np.zeros(4)
with flor.checkpointing(weights=weights, velocity=velocity):
    for epoch in flor.loop("epoch", range(3)):
        order = rng.permutation(48)
        train_epoch(weights, velocity, order)
        loss = loss_of(weights, inputs, targets)
        flor.log("loss", loss)
flor.log("final", weights)
"""
STEPS = TAIL[TAIL.index("        for step in") : TAIL.index("        loss = loss_of")]

DECAY = "            velocity *= decay\n"
LOG = '        flor.log("loss", loss)\n'
GRAD = f"            {AFTER_GRAD}"
FUNCTIONS = HEAD[HEAD.index("def grad") :]
FOR = '        for step in flor.loop("step", range(4)):\n'
WHILE = "        step = -1\n        while step < 3:\n            step += 1\n"
ENUMERATE = '        for i, step in enumerate(flor.loop("step", range(4))):\n'
PARTS = "from flor import arg, checkpointing, log, loop\n"
WHOLE_STEP = "        weights -= lr * gradient(weights, inputs, targets)\n"
INLINE = "velocity -= lr * gradient(weights, inputs[rows], targets[rows])"
SHORT = STEPS.replace(DECAY, "")
CLIP = "            np.clip(grad, -1, 1, out=grad)\n"
L1 = "loss = float(abs(weights).sum())\n"
OTHER = 'import flor\n\nfor i in flor.loop("i", range(2)):\n    flor.log("x", i)\n'

CASES = [
    _case("hyperparameters", swap(BASE, ('"lr", 0.1', '"lr", 0.05'), ("= 0.9", "= 0.5"))),
    _case("fewer-epochs", swap(BASE, ("range(3)", "range(2)"))),
    _case("no-decay", swap(BASE, (DECAY, ""), ("decay = 0.9\n", ""))),
    _case(
        "renamed-variables",
        RENAMED,
        inner="flor.log('norm', float(np.linalg.norm(g)))",
        after_grad="g = gradient(params, inputs[rows], targets[rows])\n",
        after_loss="loss = loss_of(params, inputs, targets)\n",
    ),
    _case(
        "renamed-loss",
        LOSS_RENAMED,
        outer="flor.log('gap', value * 2)",
        after_loss="value = loss_of(weights, inputs, targets)\n",
    ),
    _case(
        "renamed-functions",
        swap(BASE, ("gradient(", "slope("), ("loss_of(", "mse(")),
        after_grad="grad = slope(weights, inputs[rows], targets[rows])\n",
        after_loss="loss = mse(weights, inputs, targets)\n",
    ),
    _case(
        "moved-functions",
        swap(HEAD, (FUNCTIONS, ""), ("lr = flor.arg", FUNCTIONS + "lr = flor.arg")) + TAIL,
    ),
    _case("in-a-function", HEAD + MAIN),
    _case("split-function", HEAD + SPLIT),
    _case("enumerate", swap(BASE, (FOR, ENUMERATE))),
    _case("loop-renamed", swap(BASE, ('flor.loop("step"', 'flor.loop("batch"'))),
    _case("while-loop", swap(BASE, (FOR, WHILE))),
    _case(
        "reordered", swap(BASE, (DECAY, ""), ("            rows =", DECAY + "            rows ="))
    ),
    _case(
        "statements-added",
        swap(BASE, (DECAY, "            count += 1\n" + DECAY), ("= 0.9\n", "= 0.9\ncount = 0\n")),
    ),
    _case(
        "numpy-by-name",
        swap(BASE, ("import numpy as np", "import numpy"), ("np.", "numpy.")),
        inner="flor.log('norm', float(numpy.linalg.norm(grad)))",
    ),
    _case(
        "flor-by-parts",
        swap(BASE, ("import flor\n", PARTS), ("flor.", "")),
        inner=f"import flor; {INNER}",
        outer=f"import flor; {OUTER}",
    ),
    _case("a-second-loss", swap(BASE, (LOG, f"        loss = loss / 2\n{LOG}")), ("gap",)),
    _case("clipped", swap(BASE, (DECAY, CLIP + DECAY)), ("norm",)),
    _case("no-gradient", swap(BASE, (GRAD, ""), ("velocity -= lr * grad", INLINE)), ("norm",)),
    _case("inner-loop-twice", swap(BASE, (STEPS, STEPS + STEPS)), ("norm",)),
    _case("inner-loop-twice-unlike", swap(BASE, (STEPS, STEPS + SHORT)), ("norm",)),
    _case("no-inner-loop", swap(BASE, (STEPS, WHOLE_STEP)), ("norm",)),
    _case("another-loss", swap(BASE, (AFTER_LOSS, L1)), ("gap",)),
    _case("another-program", OTHER, ("norm", "gap")),
]
