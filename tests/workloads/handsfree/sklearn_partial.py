"""partial_fit of scikit-learn, a scaler fitted on the way."""

import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.preprocessing import StandardScaler

rng = np.random.RandomState(16)
inputs = rng.randn(120, 5) * [1, 2, 3, 4, 5]
labels = (inputs[:, 0] + inputs[:, 1] > 0).astype(int)
scaler, model = StandardScaler(), SGDClassifier(random_state=1, loss="log_loss")
for epoch in range(4):
    order = rng.permutation(100)
    for chunk in np.array_split(order, 4):
        scaler.partial_fit(inputs[chunk])
        model.partial_fit(scaler.transform(inputs[chunk]), labels[chunk], classes=[0, 1])
        # ask(inner): print("ASK", scaler.mean_.tolist(), model.coef_.tolist())
    accuracy = model.score(scaler.transform(inputs[100:]), labels[100:])
    # ask(outer): print("ASK", epoch, model.t_, model.intercept_.tolist())
    print("epoch", epoch, "accuracy", round(accuracy, 4))
