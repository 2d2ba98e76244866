"""Configured by exec(): settings from text override globals, as in nanoGPT."""

import numpy as np

seed = 19
epochs = 3
rate = 0.5
settings = "epochs = 5\nrate = 0.1\n\ndef decay(value):\n    return value * 0.8\n"
exec(settings)
config = {
    name: value
    for name, value in globals().items()
    if isinstance(value, (int, float)) and name[0] != "_"
}
print("config", config)
rng = np.random.default_rng(seed)
weights = rng.normal(size=(4, 2))
for epoch in range(epochs):
    for step in range(6):
        sample = rng.normal(size=4)
        weights -= rate * np.outer(sample, sample @ weights - 1)
        # ask(inner): print("ASK", step, weights.ravel().tolist())
    rate = decay(rate)  # noqa: F821
    # ask(outer): print("ASK", epoch, rate, float(np.linalg.norm(weights)))
    print("epoch", epoch, "norm", float(np.linalg.norm(weights)))
