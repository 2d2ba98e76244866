"""scikit-learn trained in batches with partial_fit."""

import flor
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

np.random.seed(flor.arg("seed", 71))
digits = load_digits()
scaler = StandardScaler().fit(digits.data)
inputs, labels = scaler.transform(digits.data), digits.target
train, valid = slice(0, 1400), slice(1400, None)
model = SGDClassifier(loss="log_loss", alpha=1e-3, random_state=None)

with flor.checkpointing(model=model):
    for epoch in flor.loop("epoch", range(flor.arg("epochs", 6))):
        order = np.random.permutation(1400)
        for rows in flor.loop("step", np.array_split(order, 14)):
            model.partial_fit(inputs[rows], labels[rows], classes=np.arange(10))
            flor.log("norm", float(np.linalg.norm(model.coef_)))
        flor.log("accuracy", model.score(inputs[valid], labels[valid]))
